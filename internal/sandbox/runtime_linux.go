package sandbox

import (
	"errors"
	"fmt"

	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// throughRuntime is the bundle of a step and who runs it.
type throughRuntime struct {
	runtime *bundle.Runtime
	bundle  *bundle.Bundle
}

// validateRuntime refuses what a runtime cannot do.
func (s *Spec) validateRuntime() error {
	switch {
	case s.Runtime == nil:
		return nil
	case len(s.Emulators) > 0:
		return fmt.Errorf("runtime %s: it cannot be given emulators for other processors", s.Runtime.Path)
	case s.Owners:
		return fmt.Errorf("runtime %s: it needs more than one user id", s.Runtime.Path)
	case s.Interactive:
		return fmt.Errorf("runtime %s: the command cannot own the terminal", s.Runtime.Path)
	}
	return nil
}

// bundle writes the bundle of the step, if a runtime is to run it.
func (s *Spec) bundle(c *stage.Config) (*throughRuntime, error) {
	if s.Runtime == nil {
		return nil, nil
	}
	b, err := bundle.New(s.Runtime, s.RuntimeDir, c)
	if err != nil {
		return nil, fmt.Errorf("runtime %s: %w", s.Runtime.Path, err)
	}
	return &throughRuntime{s.Runtime, b}, nil
}

// failure is why the runtime, which has ended with code, did not run the
// command; nil if the code is the command's own.
func (r *throughRuntime) failure(code int) error {
	if r == nil {
		return nil
	}
	said := r.bundle.Failure(code)
	if said == "" {
		return nil
	}
	return fmt.Errorf("sandbox: runtime %s: %w", r.runtime.Path, errors.New(said))
}
