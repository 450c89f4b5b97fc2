package peer

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/containerd/platforms"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/builder/output"
	"github.com/ocibuild/ocibuild/conformance/suite"
)

// Ocibuild builds with a store of its own.
type Ocibuild struct{ Place }

// Build builds a case and describes the result; a build that fails has one too.
func (o *Ocibuild) Build(ctx context.Context, c *suite.Case) (*suite.Result, error) {
	return o.build(ctx, c, func(ctx context.Context, w *written) (*suite.Result, error) {
		opts, err := o.options(w)
		if err != nil {
			return nil, err
		}
		opts.Sinks = []builder.Sink{&output.Layout{Dir: w.image}}
		if _, err := builder.Build(ctx, opts); err != nil {
			return ourFailure(ctx, err)
		}
		return suite.ReadResult(w.image, o.Clock)
	})
}

func (o *Ocibuild) options(w *written) (builder.Options, error) {
	a := w.args
	opts := builder.Options{
		Context: w.path(a.Context), Target: a.Target, Args: a.BuildArgs, Labels: a.Labels, Network: a.Network, Store: filepath.Join(o.Dir, "store"),
		// Some cases name hosts that are not there: nobody is to wait for them.
		Registries: &builder.Registries{Mirrors: map[string][]string{"docker.io": {o.Mirror}}, Retries: -1},
		Contexts:   map[string]string{}, RewriteTimestamps: a.Output["rewrite-timestamp"] == "true",
	}
	switch {
	case a.File != "" && isURL(a.Context):
		opts.Dockerfile = a.File
	case a.File != "":
		opts.Dockerfile = filepath.Join(opts.Context, a.File)
	}
	for id, value := range a.Secrets {
		opts.Secrets = append(opts.Secrets, builder.Secret{ID: id, Value: func() ([]byte, error) { return []byte(value), nil }})
	}
	for name, value := range a.Contexts {
		if dir, ok := strings.CutPrefix(value, "oci-layout://"); ok {
			opts.Contexts[name] = "oci-layout://" + filepath.Join(w.files, dir)
		} else {
			opts.Contexts[name] = w.path(value)
		}
	}
	for _, an := range a.Annotations {
		one := builder.Annotation{On: builder.Annotated(an.On), Key: an.Key, Value: an.Value}
		if an.Platform != "" {
			p, err := platforms.Parse(an.Platform)
			if err != nil {
				return opts, err
			}
			one.Platform = &p
		}
		opts.Annotations = append(opts.Annotations, one)
	}
	for p := range strings.SplitSeq(a.Platform, ",") {
		if p == "" {
			continue
		}
		platform, err := platforms.Parse(p)
		if err != nil {
			return opts, err
		}
		opts.Platforms = append(opts.Platforms, platform)
	}
	return opts, setSteps(&opts, w)
}

// ourFailure describes an error as a result; an interruption is none.
func ourFailure(ctx context.Context, err error) (*suite.Result, error) {
	if ctx.Err() != nil {
		return nil, err
	}
	r := &suite.Result{Error: strings.TrimSpace(err.Error())}
	var at *builder.Error
	if errors.As(err, &at) && len(at.Span.Lines) > 0 {
		r.Line = at.Span.Lines[0].First
	}
	return r, nil
}
