package builder

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/layer"
)

// sinks are all that take the result of a build.
type sinks []Sink

func (b *build) sinks() sinks {
	var s sinks
	if len(b.o.Sinks) == 0 || b.o.Keep {
		s = append(s, &storeSink{dir: b.dir})
	}
	for i, one := range b.o.Sinks {
		s = append(s, guardedSink{one, fmt.Sprintf("Sinks[%d]", i)})
	}
	return s
}

// checked does the work while the sinks that can tell are asked whether they may
// take what comes of it. A refusal ends the work, and is the error.
func (b *build) checked(work func() (*Result, error)) (*Result, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	refused := make(chan error, 1)
	go func() {
		err := b.askSinks(ctx)
		if err != nil {
			b.stop()
		}
		refused <- err
	}()
	r, err := work()
	cancel()
	select {
	case no := <-refused:
		if no != nil && err != nil {
			return nil, no
		}
	case <-b.parent.Done(): // whoever is asked may not notice
	}
	return r, err
}

func (b *build) askSinks(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range b.o.Sinks {
		if c, ok := s.(interface{ Check(context.Context) error }); ok {
			group.Go(func() error { return c.Check(ctx) })
		}
	}
	return group.Wait()
}

// ready tells all sinks of a layer. ctx is the build's: what a sink begins may
// outlive the step that made the layer.
func (s sinks) ready(ctx context.Context) func(context.Context, *layer.Layer) error {
	return func(_ context.Context, l *layer.Layer) error {
		for _, one := range s {
			if err := one.Layer(ctx, l); err != nil {
				return err
			}
		}
		return nil
	}
}
