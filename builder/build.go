package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/frontend"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/solve"
	"github.com/ocibuild/ocibuild/internal/source/registry"
	"github.com/ocibuild/ocibuild/layer"
)

// Registries says how to reach registries: credentials, mirrors, which hosts
// may be spoken to without TLS, and a counter of bytes. The zero value is ready.
type Registries = registry.Registries

// Counter counts the bytes that went to registries and came from them.
type Counter = registry.Counter

// Result is what a build made.
type Result struct {
	Image *Image
	// Received and Sent are bytes on the connections to registries; zero if
	// Options.Registries counts nothing.
	Received, Sent int64
}

// Digest returns the digest of the image's manifest.
func (r *Result) Digest() digest.Digest { return r.Image.Descriptor.Digest }

// Build builds the image of a Dockerfile and hands it to the sinks.
//
// An error about a line of the Dockerfile is an *Error, one about a field of
// the options an *OptionError; a RUN that failed is an *ExitError in the chain.
// When ctx ends, everything that was started is gone before Build returns, and
// no image is left half written.
func Build(ctx context.Context, o Options) (*Result, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	b, err := newBuild(ctx, o)
	if err != nil {
		return nil, err
	}
	img, err := b.build()
	if err := errors.Join(err, b.close()); err != nil {
		return nil, b.cause(err)
	}
	return b.result(img), nil
}

// build translates, solves and writes.
func (b *build) build() (*Image, error) {
	conv, err := b.convert()
	if err != nil {
		return nil, err
	}
	b.faces.KeepStreams = b.keepsBlobs(conv.Graph)
	solver := b.solver()
	layers, err := solver.Solve(b.ctx, conv.Graph)
	if err != nil {
		b.stop() // what is still compressing is for nothing
		_ = solver.Wait()
		return nil, err
	}
	img, err := b.write(conv, layers)
	if err != nil {
		b.stop()
	}
	return img, errors.Join(err, solver.Wait())
}

// keepsBlobs tells whether the bytes of base layers will be needed.
func (b *build) keepsBlobs(g *graph.Graph) bool {
	return len(b.o.Sinks) == 0 || slices.ContainsFunc(g.Steps, func(s *graph.Step) bool {
		_, ok := s.Op.(*graph.Exec)
		return ok
	})
}

// write tells the sinks of the layers, makes the documents when the layers are
// compressed, and gives the image to the sinks.
func (b *build) write(conv *frontend.Result, layers []solve.Layer) (*Image, error) {
	sinks := b.o.Sinks
	if len(sinks) == 0 {
		sinks = []Sink{&storeSink{dir: b.dir}}
	}
	for _, s := range sinks {
		for _, l := range layers {
			if err := s.Layer(b.ctx, l.Layer); err != nil {
				return nil, err
			}
		}
	}
	img, err := b.image(conv, layers)
	if err != nil {
		return nil, err
	}
	eg, ctx := errgroup.WithContext(b.ctx)
	for _, s := range sinks {
		eg.Go(func() error { return s.Image(ctx, img) })
	}
	return img, eg.Wait()
}

// image makes the config and the manifest.
func (b *build) image(conv *frontend.Result, layers []solve.Layer) (*Image, error) {
	img := &Image{Names: b.names}
	descs := make([]ocispec.Descriptor, len(layers))
	for i, l := range layers {
		d, err := l.Descriptor(b.ctx)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.DiffID, err)
		}
		descs[i] = d
		img.Layers = append(img.Layers, l.Layer)
	}
	var err error
	if img.Config, err = config(conv.Image, layers); err != nil {
		return nil, err
	}
	img.Manifest, img.Descriptor, err = manifest(img.Config, descs, conv.Image.Platform)
	return img, err
}

func (b *build) result(img *Image) *Result {
	r := &Result{Image: img}
	if c := b.o.Registries.Counter; c != nil {
		r.Received, r.Sent = c.Received(), c.Sent()
	}
	return r
}

// cause prefers the caller's own interruption over what it led to.
func (b *build) cause(err error) error {
	if cerr := context.Cause(b.parent); cerr != nil {
		return cerr
	}
	return err
}

// storeSink keeps the image in the local store.
type storeSink struct{ dir *cache.Dir }

func (s *storeSink) Layer(context.Context, *layer.Layer) error { return nil }

func (s *storeSink) Image(ctx context.Context, img *Image) error {
	eg, ctx := errgroup.WithContext(ctx)
	for _, l := range img.Layers {
		eg.Go(func() error {
			_, err := l.Blob(ctx)
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for _, doc := range [][]byte{img.Config, img.Manifest} {
		if err := s.dir.PutBytes(digest.FromBytes(doc), doc); err != nil {
			return err
		}
	}
	for _, name := range img.Names {
		if err := s.dir.Tag(name, img.Descriptor); err != nil {
			return fmt.Errorf("tag %s: %w", name, err)
		}
	}
	return nil
}

// created is a time as image configs have it.
func created(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
