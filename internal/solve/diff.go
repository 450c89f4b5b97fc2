package solve

import (
	"context"

	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/plan"
	"github.com/ocibuild/ocibuild/layer"
)

// diffJob makes a layer of what one input changes of another.
type diffJob struct {
	s            *Solver
	step         *graph.Step
	lower, upper []Layer
}

func (s *Solver) prepareDiff(ctx context.Context, step *graph.Step, op *graph.Diff) (*diffJob, error) {
	ins, err := s.outputs(ctx, step.Inputs, func(int) bool { return true })
	if err != nil {
		return nil, err
	}
	j := &diffJob{s: s, step: step}
	if op.Lower >= 0 {
		j.lower = ins[op.Lower]
	}
	if op.Upper >= 0 {
		j.upper = ins[op.Upper]
	}
	return j, nil
}

// diff takes from the upper input what the lower has already: a list of layers
// where the upper one is built on the lower, and a new layer otherwise.
func (s *Solver) diff(ctx context.Context, step *graph.Step, op *graph.Diff) ([][]Layer, error) {
	j, err := s.prepareDiff(ctx, step, op)
	if err != nil {
		return nil, err
	}
	if j.stacked() {
		return [][]Layer{j.upper[len(j.lower):]}, nil
	}
	return s.work(ctx, step)
}

// stacked tells whether the upper input is built on the lower one.
func (j *diffJob) stacked() bool {
	if len(j.lower) > len(j.upper) {
		return false
	}
	for i, l := range j.lower {
		if j.upper[i].DiffID != l.DiffID {
			return false
		}
	}
	return true
}

func (j *diffJob) contentKey(context.Context) (key, error) {
	h := newHasher("", j.step)
	h.Add("lower layers", chain(j.lower))
	h.Add("upper layers", chain(j.upper))
	return sum(h), nil
}

func (j *diffJob) run(ctx context.Context, previous Previous) ([][]Layer, error) {
	l, err := j.s.Faces.Create(ctx, faces.CreateOptions{Previous: previous}, func(w *layer.Writer) error {
		return plan.WriteDiff(ctx, layer.NewView(plainLayers(j.lower)), layer.NewView(plainLayers(j.upper)), w)
	})
	if err != nil {
		return nil, err
	}
	return [][]Layer{lay(nil, l, j.s.Now)}, nil
}
