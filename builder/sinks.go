package builder

import (
	"context"
	"fmt"

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
