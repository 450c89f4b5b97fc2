package builder

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/layer"
)

// CallbackError is a panic in something of the Options that a build called: a
// Secret's Value, Progress, a sink, ContextData, the keychain of the Registries.
type CallbackError = failure.CallbackError

// grace is how long a callback may go on after the build's context has ended: a
// sink tidies up meanwhile. Then it is left behind.
const grace = 300 * time.Millisecond

// isNil also knows an interface that holds a nil pointer or function.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Slice:
		return r.IsNil()
	}
	return false
}

// validateCallbacks refuses what would be called and is nil, and sinks that say
// themselves that they cannot be used.
func (o *Options) validateCallbacks() error {
	for i, s := range o.Secrets {
		if s.Value == nil {
			return &OptionError{"secret", fmt.Sprintf("number %d, %q: Value is nil", i, s.ID)}
		}
	}
	for i, s := range o.Sinks {
		if isNil(s) {
			return &OptionError{"sinks", fmt.Sprintf("number %d is nil", i)}
		}
		v, ok := s.(interface{ Validate() error })
		if !ok {
			continue
		}
		if err := failure.Guard(fmt.Sprintf("Sinks[%d].Validate", i), v.Validate); err != nil {
			return err
		}
	}
	switch {
	case o.ContextData != nil && isNil(o.ContextData):
		return &OptionError{"context", "ContextData holds a nil pointer"}
	case o.Compression != nil && isNil(o.Compression):
		return &OptionError{"compression", "it holds a nil pointer"}
	}
	return nil
}

// guardedSink is a sink that cannot end the program or outlast the build's context.
type guardedSink struct {
	Sink
	name string
}

func (s guardedSink) Layer(ctx context.Context, l *layer.Layer) error {
	// Called for each layer of each step: a goroutine for each would be seen.
	return failure.Guard(s.name+".Layer", func() error { return s.Sink.Layer(ctx, l) })
}

func (s guardedSink) Write(ctx context.Context, r *Result) error {
	_, err := failure.AwaitFor(ctx, grace, s.name+".Write", func() (struct{}, error) { return struct{}{}, s.Sink.Write(ctx, r) })
	return err
}

// guardProgress is next for as long as it neither panics nor blocks a build that
// is over. A panic ends the build with what broken is told.
func guardProgress(ctx context.Context, next progress.Func, broken func(error)) progress.Func {
	if next == nil {
		return nil
	}
	dead := false // calls come one by one: the masker sees to that
	return func(e Event) {
		if dead {
			return
		}
		_, err := failure.AwaitFor(ctx, grace, "Progress", func() (struct{}, error) { next(e); return struct{}{}, nil })
		if err != nil {
			dead = true
			broken(err)
		}
	}
}

// contextData is the caller's stream, which ends with the build at the latest.
func (b *build) contextData() io.ReadCloser {
	return failure.Reader(b.ctx, "ContextData", b.o.ContextData)
}

// guardedCompression is a compression of the caller's, which runs in goroutines of ours.
type guardedCompression struct{ layer.Compression }

func (g guardedCompression) Append(dst, raw []byte) (out []byte, err error) {
	err = failure.Guard("Compression", func() error {
		var err error
		out, err = g.Compression.Append(dst, raw)
		return err
	})
	return out, err
}

// guardCompression leaves those of package layer as they are: they are known by their types.
func guardCompression(c layer.Compression) layer.Compression {
	if c == nil || reflect.TypeOf(c).PkgPath() == reflect.TypeFor[layer.Limits]().PkgPath() {
		return c
	}
	return guardedCompression{c}
}
