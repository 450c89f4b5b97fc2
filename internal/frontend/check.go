package frontend

import (
	"context"

	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// Check returns what BuildKit's rules say of a Dockerfile, of all its stages
// unless a target is given. What makes a build impossible is part of the
// result, and no error.
func Check(ctx context.Context, o Options) (*lint.LintResults, error) {
	r, err := read(ctx, &o)
	if err != nil {
		return nil, err
	}
	res, err := dockerfile2llb.DockerfileLint(ctx, r.src.Data, r.convert)
	if err != nil {
		return nil, r.located(err)
	}
	if graph.Redact(o.Context) != o.Context {
		for _, s := range res.Sources { // where they come from: the URL, with its credentials
			s.Definition = nil
		}
	}
	return res, nil
}

// Outline returns the parameters of the target: the arguments, secrets, agents
// and caches that it uses.
func Outline(ctx context.Context, o Options) (*outline.Outline, error) {
	r, err := read(ctx, &o)
	if err != nil {
		return nil, err
	}
	res, err := dockerfile2llb.Dockerfile2Outline(ctx, r.src.Data, r.convert)
	if err != nil {
		return nil, r.located(r.explained(err))
	}
	return res, nil
}

// Targets returns the stages of a Dockerfile.
func Targets(ctx context.Context, o Options) (*targets.List, error) {
	r, err := read(ctx, &o)
	if err != nil {
		return nil, err
	}
	res, err := dockerfile2llb.ListTargets(ctx, r.src.Data)
	if err != nil {
		return nil, r.located(err)
	}
	return res, nil
}
