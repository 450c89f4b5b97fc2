package builder

import (
	"context"

	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"

	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/frontend"
)

// Check returns what BuildKit's rules say of a Dockerfile, of all its stages
// unless Target is given: the result of "docker build --check", in BuildKit's
// own type, which can print itself. What would make the build fail is its
// Error, while the error that is returned means that nothing could be checked.
//
// Like Outline and Targets it builds nothing: it reads the Dockerfile and the
// ignore file, wherever the context is, and the configs of base images. It
// takes the Options of Build, of which only the first of the Platforms counts.
func Check(ctx context.Context, o Options) (*lint.LintResults, error) {
	return call(ctx, o, frontend.Check)
}

// Outline returns the build arguments, secrets and agents that the target uses.
func Outline(ctx context.Context, o Options) (*outline.Outline, error) {
	return call(ctx, o, frontend.Outline)
}

// Targets returns the stages of a Dockerfile. It asks for no base image.
func Targets(ctx context.Context, o Options) (*targets.List, error) {
	return call(ctx, o, frontend.Targets)
}

// call asks the frontend something about a Dockerfile.
func call[T any](ctx context.Context, o Options, ask func(context.Context, frontend.Options) (*T, error)) (*T, error) {
	if err := checkContext(ctx, o.validate); err != nil {
		return nil, err
	}
	b, err := newBuild(ctx, o)
	if err != nil {
		return nil, err
	}
	var out *T
	if err = b.open(); err == nil {
		out, err = ask(b.ctx, b.frontend(o.wanted()[0]))
	}
	if err := failure.Join(err, b.close()); err != nil {
		return nil, b.cause(err)
	}
	return out, nil
}
