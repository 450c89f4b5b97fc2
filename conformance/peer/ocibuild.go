package peer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/platforms"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/builder/output"
	"github.com/ocibuild/ocibuild/conformance/suite"
)

// Ocibuild builds with a store of its own.
type Ocibuild struct {
	Dir    string // where the store and the contexts are
	Mirror string // has the images of Docker Hub
}

// Build builds a case and describes the result; a build that fails has one too.
func (o *Ocibuild) Build(ctx context.Context, c *suite.Case) (*suite.Result, error) {
	dir, err := os.MkdirTemp(o.Dir, "case-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files, dest := filepath.Join(dir, "context"), filepath.Join(dir, "image")
	if err := os.Mkdir(files, 0o755); err != nil {
		return nil, err
	}
	if err := c.Write(files); err != nil {
		return nil, err
	}
	opts, err := o.options(c.Args, files)
	if err != nil {
		return nil, err
	}
	opts.Sinks = []builder.Sink{&output.Layout{Dir: dest}}
	if _, err := builder.Build(ctx, opts); err != nil {
		return ourFailure(ctx, err)
	}
	return suite.ReadResult(dest)
}

func (o *Ocibuild) options(a suite.Args, dir string) (builder.Options, error) {
	opts := builder.Options{
		Context: dir, Target: a.Target, Args: a.BuildArgs, Labels: a.Labels, Network: a.Network, Store: filepath.Join(o.Dir, "store"),
		Registries: &builder.Registries{Mirrors: map[string][]string{"docker.io": {o.Mirror}}},
	}
	if a.File != "" {
		opts.Dockerfile = filepath.Join(dir, a.File)
	}
	for id, value := range a.Secrets {
		opts.Secrets = append(opts.Secrets, builder.Secret{ID: id, Value: func() ([]byte, error) { return []byte(value), nil }})
	}
	if a.Platform != "" {
		p, err := platforms.Parse(a.Platform)
		if err != nil {
			return opts, err
		}
		opts.Platforms = append(opts.Platforms, p)
	}
	return opts, nil
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
