package frontend

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"

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
	res, err := ask(ctx, r, dockerfile2llb.DockerfileLint)
	if err != nil {
		return nil, r.located(err)
	}
	if res.Error != nil {
		res.Error.Message = r.explained(errors.New(res.Error.Message)).Error()
	}
	if graph.Redact(o.Context) != o.Context {
		for _, s := range res.Sources { // where they come from: the URL, with its credentials
			s.Definition = nil
		}
	}
	return res, nil
}

// Outline returns the parameters of the target: the arguments, secrets and
// agents that it uses.
func Outline(ctx context.Context, o Options) (*outline.Outline, error) {
	r, err := read(ctx, &o)
	if err != nil {
		return nil, err
	}
	res, err := ask(ctx, r, dockerfile2llb.Dockerfile2Outline)
	if err != nil {
		return nil, r.located(r.explained(err))
	}
	// BuildKit has those of one line in any order.
	sorted(res.Args, func(a outline.Arg) (*pb.Location, string) { return a.Location, a.Name })
	sorted(res.Secrets, func(s outline.Secret) (*pb.Location, string) { return s.Location, s.Name })
	sorted(res.SSH, func(s outline.SSH) (*pb.Location, string) { return s.Location, s.Name })
	return res, nil
}

// sorted sorts by lines, and then by names.
func sorted[T any](list []T, key func(T) (*pb.Location, string)) {
	line := func(l *pb.Location) int32 {
		if len(l.GetRanges()) == 0 {
			return 0
		}
		return l.GetRanges()[0].GetStart().GetLine()
	}
	slices.SortFunc(list, func(a, b T) int {
		la, na := key(a)
		lb, nb := key(b)
		return cmp.Or(cmp.Compare(line(la), line(lb)), cmp.Compare(na, nb))
	})
}

// Targets returns the stages of a Dockerfile.
func Targets(ctx context.Context, o Options) (*targets.List, error) {
	r, err := read(ctx, &o)
	if err != nil {
		return nil, err
	}
	res, err := r.list()
	if err != nil {
		return nil, r.located(err)
	}
	return res, nil
}
