package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
)

// errRung: those below have no mounts, or no ids, that a runtime could use.
var errRung = errors.New("an OCI runtime runs steps on the rungs " + IsolationRoot + " and " + IsolationUserns + " only")

// fits tells why the runtime that is asked for cannot be used on a rung.
func (o *Options) fits(rung string) error {
	if o.Runtime == "" || rung == IsolationRoot || rung == IsolationUserns || rung == IsolationNone {
		return nil
	}
	return errRung
}

// useRuntime makes the program at a path run all steps, after it has shown that
// it can.
func (s *server) useRuntime(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	var err error
	if s.runtime, err = bundle.Identify(ctx, path); err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	program := binfmt.Program(goruntime.GOARCH)
	if program == nil {
		return fmt.Errorf("runtime %s: not known on %s", path, goruntime.GOARCH)
	}
	if err := s.try(ctx, program, nil); err != nil {
		return fmt.Errorf("runtime %s does not work here: %w", path, err)
	}
	return nil
}

// through makes the runtime, if there is one, run a step. What done removes must
// stay until the step is over.
func (s *server) through(spec *sandbox.Spec) (done func() error, err error) {
	if s.runtime == nil {
		return func() error { return nil }, nil
	}
	dir, err := s.temp.Dir("bundle")
	if err != nil {
		return nil, err
	}
	// In memory, and only for us: it tells of the environment, in which secrets may be.
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700"); err != nil {
		return nil, fmt.Errorf("mount memory for the runtime: %w", errors.Join(err, os.Remove(dir)))
	}
	spec.Runtime, spec.RuntimeDir = s.runtime, dir
	return func() error { return errors.Join(unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir)) }, nil
}
