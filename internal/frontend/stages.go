package frontend

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
)

// stages returns the names of the stages that have one; nil if the Dockerfile
// cannot be read.
func (r *reading) stages() []string {
	list, err := dockerfile2llb.ListTargets(context.Background(), r.src.Data)
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
