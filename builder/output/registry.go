package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/source/registry"
	"github.com/ocibuild/ocibuild/layer"
)

// pushJobs is how many blobs are sent at once.
const pushJobs = 4

// Registry pushes images. A layer is sent as soon as its blob is ready, while
// other steps of the build still run; the manifest comes last, so that a tag
// never names an image that is not all there.
type Registry struct {
	targets []*target
	slots   chan struct{}

	mu     sync.Mutex
	pushes map[pushID]*push
	ends   []context.CancelFunc
	closed bool
}

// target is a repository and the tags the image gets there.
type target struct {
	repo *registry.Repository
	tags []string
}

type pushID struct {
	repo   string
	diffID digest.Digest
}

type push struct {
	over <-chan struct{} // closed when the attempt to build that it is for has ended
	done chan struct{}   // closed when err is set
	err  error
}

// again tells whether the push is to begin again: the layer was damaged and has
// been made again, or the attempt to build it was given up.
func (p *push) again() bool {
	select {
	case <-p.done:
		_, damaged := errors.AsType[*cache.DamagedError](p.err)
		return damaged || errors.Is(p.err, context.Canceled)
	case <-p.over:
		return true
	default:
		return false
	}
}

// NewRegistry returns the output that pushes to all these names. Close it when
// it is no longer needed, above all if Write was not reached.
func NewRegistry(r *source.Registries, names ...string) (*Registry, error) {
	if r == nil {
		return nil, &builder.OptionError{Field: "registries", Reason: "it is nil"}
	}
	o := &Registry{slots: make(chan struct{}, pushJobs), pushes: map[pushID]*push{}}
	byRepo := map[string]*target{}
	for _, name := range names {
		named, err := parseTag(name)
		if err != nil {
			return nil, err
		}
		t := byRepo[named.Name()]
		if t == nil {
			repo, err := r.Repository(named.Name())
			if err != nil {
				return nil, err
			}
			t = &target{repo: repo}
			byRepo[named.Name()] = t
			o.targets = append(o.targets, t)
		}
		t.tags = append(t.tags, named.Tag())
	}
	if len(o.targets) == 0 {
		return nil, errors.New("push: no image name to push to")
	}
	return o, nil
}

// Validate refuses what NewRegistry did not make.
func (o *Registry) Validate() error {
	if o.slots == nil {
		return &builder.OptionError{Field: "registry", Reason: "made without NewRegistry"}
	}
	return nil
}

// Check asks whether the image may be pushed to each target. A build asks when it
// begins: only a refusal is an error, and nothing else is said of the registry.
func (o *Registry) Check(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range o.targets {
		group.Go(func() error { return t.repo.CheckPush(ctx) })
	}
	return group.Wait()
}

// Layer implements Sink: it begins to push the layer. ctx must live as long as
// the build.
func (o *Registry) Layer(ctx context.Context, l *layer.Layer) error {
	for _, t := range o.targets {
		o.begin(ctx, t, l)
	}
	return nil
}

// Write implements Sink.
func (o *Registry) Write(ctx context.Context, r *Result) error {
	if r.Index != nil {
		if err := checkIndex(r); err != nil {
			return err
		}
	}
	for _, img := range r.Images {
		for _, l := range img.Layers {
			if err := o.Layer(ctx, l); err != nil {
				return err
			}
		}
	}
	for _, t := range o.targets {
		if err := o.finish(ctx, t, r); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the pushes that still run and waits for them.
func (o *Registry) Close() error {
	o.mu.Lock()
	o.closed = true
	running := o.pushes
	for _, end := range o.ends {
		end()
	}
	o.mu.Unlock()
	for _, p := range running {
		<-p.done
	}
	return nil
}

// begin starts the push of a layer to a target, unless it was before.
func (o *Registry) begin(ctx context.Context, t *target, l *layer.Layer) *push {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := pushID{t.repo.Name(), l.DiffID}
	before := o.pushes[id]
	if before != nil && (o.closed || !before.again()) {
		return before
	}
	p := &push{done: make(chan struct{}), over: ctx.Done()}
	o.pushes[id] = p
	ctx, end := context.WithCancel(ctx)
	o.ends = append(o.ends, end)
	if o.closed {
		end()
	}
	go func() {
		defer close(p.done)
		defer end()
		if before != nil {
			<-before.done
		}
		p.err = o.pushLayer(ctx, t, l)
	}()
	return p
}

func (o *Registry) pushLayer(ctx context.Context, t *target, l *layer.Layer) error {
	desc, err := l.Descriptor(ctx) // before a slot is taken: it may wait for a compression
	if err != nil {
		return err
	}
	origin := ""
	if f, ok := l.Faces().(interface{ Origin() string }); ok {
		origin = f.Origin()
	}
	var damage atomic.Pointer[error]
	err = o.pushBlob(ctx, t, desc, origin, func(ctx context.Context) (io.ReadCloser, error) {
		r, err := l.Open(ctx)
		if err != nil {
			noteDamage(&damage, err)
			return nil, err
		}
		return &watched{r, &damage}, nil
	})
	if d := damage.Load(); err != nil && d != nil {
		return fmt.Errorf("push blob %s to %s: %w", desc.Digest, t.repo.Name(), *d)
	}
	return err
}

// watched keeps the error of its reader, which net/http words in its own way.
type watched struct {
	io.ReadCloser
	damage *atomic.Pointer[error]
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	noteDamage(w.damage, err)
	return n, err
}

func noteDamage(to *atomic.Pointer[error], err error) {
	if _, ok := errors.AsType[*cache.DamagedError](err); ok {
		to.CompareAndSwap(nil, &err)
	}
}

type opener = func(context.Context) (io.ReadCloser, error)

func (o *Registry) pushBlob(ctx context.Context, t *target, desc ocispec.Descriptor, origin string, open opener) error {
	select {
	case o.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-o.slots }()
	return t.repo.PushBlob(ctx, desc, origin, open)
}

// finish pushes what only the whole result has: of an index, the images by
// their digests first.
func (o *Registry) finish(ctx context.Context, t *target, r *Result) error {
	for _, img := range r.Images {
		if err := o.pushParts(ctx, t, img); err != nil {
			return err
		}
		if r.Index == nil {
			continue
		}
		if err := t.repo.PutManifest(ctx, img.Descriptor.Digest.String(), img.Descriptor.MediaType, img.Manifest); err != nil {
			return err
		}
	}
	document := r.Index
	if document == nil {
		document = r.Images[0].Manifest
	}
	for _, tag := range t.tags {
		if err := t.repo.PutManifest(ctx, tag, r.Descriptor.MediaType, document); err != nil {
			return err
		}
	}
	return nil
}

// pushParts pushes the config and waits for the layers.
func (o *Registry) pushParts(ctx context.Context, t *target, img *Image) error {
	m, err := manifestOf(img)
	if err != nil {
		return err
	}
	err = o.pushBlob(ctx, t, m.Config, "", func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(img.Config)), nil
	})
	if err != nil {
		return err
	}
	for _, l := range img.Layers {
		p := o.begin(ctx, t, l)
		select {
		case <-p.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if p.err != nil {
			return p.err
		}
	}
	return nil
}
