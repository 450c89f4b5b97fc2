package bundle

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"strings"
	"syscall"
)

// The runtimes that need to be told more than all of them understand.
const (
	runc  = "runc"
	crun  = "crun"
	runsc = "runsc"
)

// Identify asks the program at an absolute path which runtime it is.
func Identify(ctx context.Context, program string) (*Runtime, error) {
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Env, cmd.Dir = environment, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if name == "" {
		name = path.Base(program)
	}
	return &Runtime{Path: program, Name: name}, nil
}
