package solve

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/progress"
)

func (s *Solver) event(step *graph.Step, e progress.Event) {
	if s.Progress == nil || step.Name == "" {
		return
	}
	e.Time, e.Step, e.Name = time.Now(), step.ID, fetchName(step)
	for _, in := range step.Inputs {
		e.Inputs = append(e.Inputs, in.Step.ID)
	}
	s.Progress(e)
}

// tell tells of a step's failure, unless it only follows from another one.
func (s *Solver) tell(step *graph.Step, err error) {
	if errors.Is(err, context.Canceled) || s.told(step) {
		return
	}
	if _, ok := errors.AsType[*toldError](err); ok {
		return
	}
	var le *graph.LineError
	if errors.As(err, &le) {
		if le.Span.String() != step.Source.String() {
			return // an input's
		}
		err = le.Err
	}
	if se, ok := errors.AsType[*StepError](err); ok {
		err = se.Err // the event names the step
	}
	s.event(step, progress.Event{Kind: "error", Error: err.Error()})
}

// cached tells that a step, and with it all it depends on, need not be done.
func (s *Solver) cached(step *graph.Step) {
	if s.Progress == nil {
		return
	}
	seen := map[digest.Digest]bool{}
	var tell func(*graph.Step)
	tell = func(st *graph.Step) {
		if seen[st.ID] {
			return
		}
		seen[st.ID] = true
		for _, in := range st.Inputs {
			tell(in.Step)
		}
		if s.told(st) {
			return
		}
		switch st.Op.(type) {
		case *graph.File, *graph.Exec, *graph.HTTP, *graph.Git:
			s.event(st, progress.Event{Kind: "cached", Cached: true})
		}
	}
	tell(step)
}

// told marks a step as mentioned and tells whether it was before.
func (s *Solver) told(step *graph.Step) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state(step)
	was := st.told
	st.told = true
	return was
}
