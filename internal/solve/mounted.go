package solve

import (
	"context"
	"slices"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// The files of a context, a download or a checkout are a layer where a step mounts
// them. To mount it takes a tree and no blob, so that one of the two is enough to
// keep.

// Release removes what nobody has more use for: the blobs of layers that were
// only mounted. It comes after Wait, with the results.
func (s *Solver) Release(ctx context.Context, results ...[]Layer) error {
	for _, l := range s.mounted {
		if s.listedElsewhere(l, results) {
			continue
		}
		if err := s.Faces.Release(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// listedElsewhere tells whether the layer is part of what other steps made, or of
// a result.
func (s *Solver) listedElsewhere(l *layer.Layer, results [][]Layer) bool {
	same := func(o Layer) bool { return o.DiffID == l.DiffID }
	among := func(out []Layer) bool { return slices.ContainsFunc(out, same) }
	if slices.ContainsFunc(results, among) {
		return true
	}
	for _, st := range s.steps {
		outs := st.result.peek()
		own := len(outs) == 1 && len(outs[0]) == 1 && outs[0][0].Layer == l
		if !own && slices.ContainsFunc(outs, among) {
			return true
		}
	}
	return false
}

// peek returns what was found out, or nothing.
func (o *once[T]) peek() T {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.val
}

// recorded finds a layer of the record of a step.
func (s *Solver) recorded(step *graph.Step, l cache.Layer) (*layer.Layer, error) {
	found, err := s.Layer(l)
	if err != nil && isFiles(step.Op) && s.Faces.Unpacked(l) {
		return s.Faces.Local(l), nil
	}
	return found, err
}
