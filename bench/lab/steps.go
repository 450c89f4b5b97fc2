package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Steps builds the context into image and tells, in their order, how long each
// RUN took: from its start until its layer was known.
func (o *Ocibuild) Steps(ctx context.Context, dir, image string, args ...string) ([]Usage, error) {
	args = append([]string{"build", "--store", o.store, "--insecure-registry", o.lab.Host(), "--progress", "rawjson", "-t", image}, args...)
	cmd, err := o.lab.withIDs(ctx, o.binary, append(args, dir)...)
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if _, err := Measure(cmd); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(said.Bytes(), 4000))
	}
	return runSteps(said.Bytes())
}

// runSteps reads the times of RUNs from the progress of a build, as BuildKit's
// rawjson has it: one document a line for each change.
func runSteps(said []byte) ([]Usage, error) {
	var steps []Usage
	for line := range bytes.Lines(said) {
		if line[0] != '{' {
			continue // what it says at the end
		}
		var status struct {
			Vertexes []struct {
				Name               string
				Started, Completed *time.Time
				Cached             bool
			}
		}
		if err := json.Unmarshal(line, &status); err != nil {
			return nil, fmt.Errorf("progress of the build: %w: %.200s", err, line)
		}
		for _, v := range status.Vertexes {
			if v.Completed != nil && v.Started != nil && !v.Cached && strings.Contains(v.Name, "] RUN ") {
				steps = append(steps, Usage{Wall: v.Completed.Sub(*v.Started)})
			}
		}
	}
	return steps, nil
}

// withIDs is a command that finds a range of sub-ids for root, in a mount
// namespace of its own: the machine may have none.
func (l *Lab) withIDs(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	ids := filepath.Join(l.dir, "ids")
	if err := os.WriteFile(ids, []byte("root:1000000000:65536\n"), 0o644); err != nil {
		return nil, err
	}
	const script = `mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"`
	cmd := Command(ctx, "sh", append([]string{"-c", script, ids, name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd, nil
}
