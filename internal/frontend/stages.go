package frontend

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"
)

// list returns the stages of a Dockerfile, as BuildKit's ListTargets does, which
// does not survive a check comment above an instruction (v0.33.1).
func (r *reading) list() (*targets.List, error) {
	dockerfile, err := parser.Parse(bytes.NewReader(r.src.Data))
	if err != nil {
		return nil, err
	}
	stages, _, err := instructions.Parse(dockerfile.AST, linter.New(&linter.Config{}))
	if err != nil {
		return nil, err
	}
	l := &targets.List{Sources: [][]byte{r.src.Data}}
	for i, s := range stages {
		l.Targets = append(l.Targets, targets.Target{
			Name: s.Name, Description: s.DocComment, Default: i == len(stages)-1, Base: s.BaseName, Platform: s.Platform,
			Location: location(s.Location),
		})
	}
	return l, nil
}

func location(ranges []parser.Range) *pb.Location {
	l := &pb.Location{}
	for _, r := range ranges {
		l.Ranges = append(l.Ranges, &pb.Range{Start: position(r.Start), End: position(r.End)})
	}
	return l
}

func position(p parser.Position) *pb.Position {
	return &pb.Position{Line: int32(p.Line), Character: int32(p.Character)}
}

// stages returns the names of the stages that have one; nil if the Dockerfile
// cannot be read.
func (r *reading) stages() []string {
	list, err := r.list()
	if err != nil {
		return nil
	}
	var names []string
	for _, t := range list.Targets {
		if t.Name != "" {
			names = append(names, t.Name)
		}
	}
	return names
}

// explained adds to an error about an unknown target which ones there are.
func (r *reading) explained(err error) error {
	if r.options.Target == "" || !strings.HasPrefix(err.Error(), fmt.Sprintf("target stage %q ", r.options.Target)) {
		return err
	}
	names := r.stages()
	if len(names) == 0 {
		return fmt.Errorf("%w: no stage of the Dockerfile has a name", err)
	}
	return fmt.Errorf("%w: there are %s", err, strings.Join(names, ", "))
}

// warnOfFilters tells of stages to build anew that do not exist: BuildKit takes
// any name, and caches as usual.
func (r *reading) warnOfFilters() {
	if len(r.options.NoCache) == 0 {
		return
	}
	names := r.stages()
	for _, want := range r.options.NoCache {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, want) }) {
			r.notice(0, "no stage has the name %q: there is nothing in it to build anew", want)
		}
	}
}
