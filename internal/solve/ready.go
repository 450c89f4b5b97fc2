package solve

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// resultParts are the outputs whose layers all become part of a result.
type resultParts map[partID]bool

type partID struct {
	step   digest.Digest
	output int
}

// add follows an output that is part of a result down to the base image.
func (p resultParts) add(in graph.Input) {
	if in.Step == nil || p[partID{in.Step.ID, in.Output}] {
		return
	}
	p[partID{in.Step.ID, in.Output}] = true
	switch op := in.Step.Op.(type) {
	case *graph.Merge:
		for _, below := range in.Step.Inputs {
			p.add(below)
		}
	case *graph.Exec:
		for _, m := range op.Mounts {
			if m.Output == in.Output && m.Input >= 0 {
				p.add(in.Step.Inputs[m.Input])
			}
		}
	case *graph.File:
		for i, a := range op.Actions {
			if below := baseOf(op, i, len(in.Step.Inputs)); a.Output == in.Output && below >= 0 {
				p.add(in.Step.Inputs[below])
			}
		}
	}
	// Of the inputs of a Diff not all layers are part of it.
}

// baseOf returns the input that action i of a file operation builds on, through
// other actions or not, of so many inputs; -1 is an empty tree.
func baseOf(op *graph.File, i, inputs int) int {
	in := op.Actions[i].Input
	for in >= inputs {
		in = op.Actions[in-inputs].Input
	}
	return in
}

// announce tells of the layers of a step that become part of a result.
func (s *Solver) announce(ctx context.Context, step *graph.Step, outs [][]Layer) error {
	if s.Ready == nil {
		return nil
	}
	for i, out := range outs {
		if !s.parts[partID{step.ID, i}] {
			continue
		}
		for _, l := range out {
			if err := s.Ready(ctx, l.Layer); err != nil {
				s.fail(err)
				return err
			}
		}
	}
	return nil
}
