package solve

import (
	"context"
	"errors"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// StepError is an error of a step that no line of a Dockerfile stands for.
type StepError struct {
	Step string // its name, or its digest if it has none
	Err  error
}

// Error names the step.
func (e *StepError) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap returns the error without the step.
func (e *StepError) Unwrap() error { return e.Err }

// ofStep names the step that failed, once: the first one is the cause.
func ofStep(step *graph.Step, err error) error {
	_, named := errors.AsType[*StepError](err)
	_, placed := errors.AsType[*graph.LineError](err)
	if named || placed || errors.Is(err, context.Canceled) {
		return err
	}
	name := step.Name
	if name == "" {
		name = step.ID.String()
	}
	return &StepError{Step: name, Err: err}
}
