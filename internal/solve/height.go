package solve

import (
	"fmt"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// bounded refuses, before anything is done, a graph whose images would have more
// layers than images may have: what a step costs grows with those below it. The
// layers of base images are not known yet, and do not count.
func (s *Solver) bounded(g *graph.Graph) error {
	if s.MaxLayers == 0 {
		return nil
	}
	heights := map[graph.Input]int{}
	for _, step := range g.Steps {
		for output, h := range heightsOf(step, heights) {
			if h > s.MaxLayers {
				return located(step, fmt.Errorf("up to here it is %d layers, and an image may have %d: put several instructions into one", h, s.MaxLayers))
			}
			heights[graph.Input{Step: step, Output: output}] = h
		}
	}
	return nil
}

// heightsOf returns how many layers each output of a step has.
func heightsOf(step *graph.Step, heights map[graph.Input]int) map[int]int {
	below := func(input int) int {
		if input < 0 || input >= len(step.Inputs) {
			return 0
		}
		return heights[step.Inputs[input]]
	}
	out := map[int]int{}
	switch op := step.Op.(type) {
	case *graph.File:
		results := make([]int, len(op.Actions))
		for i, a := range op.Actions {
			if from := a.Input - len(step.Inputs); from >= 0 && from < i {
				results[i] = results[from] // one layer for all actions of a step
			} else {
				results[i] = below(a.Input) + 1
			}
			out[a.Output] = results[i]
		}
	case *graph.Exec:
		for _, m := range op.Mounts {
			out[m.Output] = below(m.Input) + 1
		}
	case *graph.Merge:
		for i := range step.Inputs {
			out[0] += below(i)
		}
	case *graph.Diff:
		out[0] = below(op.Upper)
	}
	delete(out, -1) // what nobody keeps
	return out
}
