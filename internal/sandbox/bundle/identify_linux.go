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
	// As in "runc version 1.4.3".
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	r := &Runtime{Path: program, Name: path.Base(program)}
	words := strings.Fields(line)
	if len(words) > 0 {
		r.Name = words[0]
	}
	if len(words) > 2 && words[1] == "version" {
		r.Version = words[2]
	}
	return r, nil
}
