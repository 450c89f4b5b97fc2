package builder

import (
	"context"
	"errors"
	"slices"

	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/frontend"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/solve"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/source/registry"
)

// Registries says how to reach registries: credentials, mirrors, which hosts
// may be spoken to without TLS, and a counter of bytes. The zero value is ready.
type Registries = registry.Registries

// Counter counts the bytes that went to registries and came from them.
type Counter = registry.Counter

// Build builds the image of a Dockerfile, or an index of images for several
// platforms, and hands it to the sinks.
//
// An error about a line of the Dockerfile is an *Error, one about a field of
// the options an *OptionError; a RUN that failed is an *ExitError in the chain.
// When ctx ends, everything that was started is gone before Build returns, and
// no image is left half written.
func Build(ctx context.Context, o Options) (*Result, error) {
	if err := checkContext(ctx, o.validate); err != nil {
		return nil, err
	}
	b, err := newBuild(ctx, o)
	if err != nil {
		return nil, err
	}
	return b.finish(b.checked(b.build))
}

// finish ends a build and tells what came out.
func (b *build) finish(r *Result, err error) (*Result, error) {
	err = failure.Join(err, b.close())
	if broken := b.broken.Load(); broken != nil && err == nil {
		err = *broken // though nothing was left to be ended by it
	}
	if err != nil {
		if exit, ok := errors.AsType[*ExitError](err); ok {
			exit.Output = b.mask.Hide(exit.Output)
		}
		return nil, b.cause(err)
	}
	now := b.traffic()
	r.Received, r.Sent = now.received-b.before.received, now.sent-b.before.sent
	return r, nil
}

// cause prefers the caller's own interruption over what it led to.
func (b *build) cause(err error) error {
	if b.parent.Err() != nil {
		return failure.Interruption(b.parent)
	}
	if broken := b.broken.Load(); broken != nil {
		return *broken
	}
	return err
}

// traffic is what a counter has counted.
type traffic struct{ received, sent int64 }

func (b *build) traffic() traffic {
	c := b.o.Registries.Counter
	if c == nil {
		return traffic{}
	}
	return traffic{c.Received(), c.Sent()}
}

// build translates for each platform, solves all at once, and writes.
func (b *build) build() (*Result, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	var parts []*part
	for _, p := range b.o.wanted() {
		conv, err := frontend.Convert(b.ctx, b.frontend(p))
		if err != nil {
			return nil, err
		}
		parts = append(parts, translated(conv))
	}
	return b.solve(parts)
}

// part is the image for one platform in the making.
type part struct {
	graph    *graph.Graph
	config   *dockerspec.DockerOCIImage // without layers
	dates    dates
	platform ocispec.Platform
	layers   []solve.Layer
}

func translated(conv *frontend.Result) *part {
	p := &part{graph: conv.Graph, config: conv.Image, platform: platforms.Normalize(conv.Image.Platform)}
	p.dates.epoch = conv.Epoch
	if conv.Base != nil {
		p.dates.base = conv.Base.History
	}
	return p
}

// solve makes the layers of all parts, the documents around them, and gives the
// result to the sinks. When something in the store turns out to be damaged, it
// is set aside, and all begins again: what was sound is in the cache.
func (b *build) solve(parts []*part) (r *Result, err error) {
	first := true
	err = cache.Healed(func() error {
		if !first {
			if err := b.renew(); err != nil {
				return err
			}
		}
		first = false
		r, err = b.attempt(parts)
		return err
	})
	return r, err
}

func (b *build) newFaces() *faces.Store {
	return &faces.Store{Dir: b.dir, Compression: guardCompression(b.o.Compression), Limits: b.o.Bounds.Layer}
}

// renew forgets the layers and images that were looked up, whose blobs may be gone.
func (b *build) renew() error {
	b.faces = b.newFaces()
	b.images.Store = b.faces
	b.mu.Lock()
	b.resolved = map[string]func() (*source.Image, error){}
	b.mu.Unlock()
	for _, again := range b.imports {
		if err := again(); err != nil {
			return err
		}
	}
	return nil
}

func (b *build) attempt(parts []*part) (*Result, error) {
	graphs := make([]*graph.Graph, len(parts))
	for i, p := range parts {
		graphs[i] = p.graph
	}
	b.faces.KeepStreams = b.keepsBlobs(graphs)
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	sinks := b.sinks()
	solver := b.solver()
	if !b.o.RewriteTimestamps { // else other layers take their place
		solver.Ready = sinks.ready(ctx)
	}
	layers, err := solver.Solve(ctx, graphs...)
	if err != nil {
		stop() // what is still compressing is for nothing
		_ = solver.Wait()
		return nil, err
	}
	for i, p := range parts {
		p.layers = slices.Clone(layers[i]) // rewrite puts others in their place
	}
	r, err := b.write(ctx, parts, sinks)
	if err != nil {
		stop()
	}
	if err = failure.Join(err, solver.Wait()); err == nil {
		err = solver.Release(b.ctx, layers...)
	}
	return r, err
}

// keepsBlobs tells whether the bytes of base layers will be needed.
func (b *build) keepsBlobs(graphs []*graph.Graph) bool {
	return len(b.o.Sinks) == 0 || b.o.Keep || slices.ContainsFunc(graphs, func(g *graph.Graph) bool {
		return slices.ContainsFunc(g.Steps, func(s *graph.Step) bool {
			_, ok := s.Op.(*graph.Exec)
			return ok
		})
	})
}

// write makes the documents when the layers are compressed, and gives the
// result to the sinks.
func (b *build) write(ctx context.Context, parts []*part, s sinks) (*Result, error) {
	ready := s.ready(ctx)
	for _, p := range parts {
		if err := b.rewrite(p); err != nil {
			return nil, err
		}
		for _, l := range p.layers { // of a cached step, only the last one was spoken of
			if err := ready(ctx, l.Layer); err != nil {
				return nil, err
			}
		}
	}
	r, err := b.result(parts)
	if err != nil {
		return nil, err
	}
	eg, ctx := errgroup.WithContext(ctx)
	for _, one := range s {
		eg.Go(func() error { return one.Write(ctx, r) })
	}
	return r, eg.Wait()
}
