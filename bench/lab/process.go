package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

const gracePeriod = 10 * time.Second

// Command is a process that ends with ctx: asked first, killed after a while.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = gracePeriod
	return cmd
}

// Measure runs cmd to its end. CPU counts cmd and all descendants that were
// waited for, Memory cmd and the largest other process of the same binary.
func Measure(cmd *exec.Cmd) (Usage, error) {
	var output bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &output
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &output
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return Usage{}, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	watch := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	wall := time.Since(begin)
	memory := watch.stop()
	if err != nil {
		return Usage{}, fmt.Errorf("%s: %w\n%s", cmd, err, tail(output.Bytes(), 4000))
	}
	state := cmd.ProcessState
	return Usage{Wall: wall, CPU: state.UserTime() + state.SystemTime(), Memory: memory}, nil
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// daemon is a process that serves until it is stopped.
type daemon struct {
	cmd    *exec.Cmd
	output *bytes.Buffer
	done   chan struct{}
	err    error // of the end, once done is closed
}

func startDaemon(cmd *exec.Cmd) (*daemon, error) {
	d := &daemon{cmd: cmd, output: &bytes.Buffer{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = d.output, d.output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() {
		d.err = cmd.Wait()
		close(d.done)
	}()
	return d, nil
}

// waitFor asks ready until it says yes, the daemon ends or time is up.
func (d *daemon) waitFor(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !ready() {
		select {
		case <-d.done:
			return fmt.Errorf("%s ended early: %w\n%s", d.cmd.Path, d.err, tail(d.output.Bytes(), 4000))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", d.cmd.Path, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// stop ends the process, by its id and nothing else.
func (d *daemon) stop() {
	// An error means that it has ended already: the wait below tells.
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(gracePeriod):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
}
