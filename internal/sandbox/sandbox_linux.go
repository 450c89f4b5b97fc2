package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
	"golang.org/x/sys/unix"
)

// stageEnv is the environment of the first process, which is no business of
// the command. One processor is enough for a list of system calls, and spares
// the runtime its look at the machine.
var stageEnv = []string{"GOMAXPROCS=1"}

// Process is a running step.
type Process struct {
	proc *os.Process
	done chan struct{} // closed when code and err are set and nothing is left
	code int
	err  error
}

// Start runs the command of s and returns when it is running. An error of the
// sandbox itself is returned here; a command that cannot be executed is told by
// Wait. Cancelling ctx kills the step, as Kill does.
func Start(ctx context.Context, s *Spec, stdio Stdio) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	config, err := s.config()
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	exe, err := program()
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	k := &keeper{ctx: ctx, config: config, exe: exe, stdio: stdio, started: make(chan error, 1)}
	k.p = &Process{done: make(chan struct{})}
	go k.keep()
	if err := <-k.started; err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return k.p, nil
}

// Signal sends sig to the command. It is process 1 of its namespace: a signal
// for which it has no handler does nothing, except for SIGKILL and SIGSTOP.
func (p *Process) Signal(sig os.Signal) error { return p.proc.Signal(sig) }

// Kill ends the command and with it, by the kernel, its whole process namespace.
func (p *Process) Kill() error { return p.proc.Kill() }

// Wait returns the exit code, 128+n for signal n, when every process of the
// step is dead, its mount points are removed and the times of the directories
// they were in are as the step left them. An error beside the code is an
// [*ExecError] (127, 126), the reason why the context was cancelled, or that
// something could not be cleaned up. It may be called more than once.
func (p *Process) Wait() (exitCode int, err error) {
	<-p.done
	return p.code, p.err
}

// keeper sees a step through, from before its start until it is cleaned up. It
// is one goroutine on one thread: the kernel kills a child with PDEATHSIG when
// the thread that started it ends, not the process.
type keeper struct {
	p       *Process
	ctx     context.Context // of Start, for this one call
	config  *stage.Config
	exe     string
	stdio   Stdio
	started chan error
	stubs   []stage.Stub
}

func (k *keeper) keep() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(k.p.done)
	if k.config.Interactive {
		defer keepTerminal(k.stdio.Stdin)()
	}
	config, report, err := k.start()
	if err != nil {
		k.started <- err
		return
	}
	stop := context.AfterFunc(k.ctx, func() { _ = k.p.proc.Kill() })
	failure, err := k.talk(config, report)
	if err != nil {
		_ = k.p.proc.Kill()
	}
	setup := failure != nil && failure.Code == 0
	if err == nil && !setup {
		k.started <- nil
	}
	state, waitErr := k.p.proc.Wait()
	stop()
	cleanErr := removeStubs(k.config.Rootfs, k.stubs)
	switch {
	case err != nil:
		k.started <- errors.Join(err, cleanErr)
	case setup && k.ctx.Err() == nil:
		k.started <- errors.Join(errors.New(failure.Text), cleanErr)
	case setup:
		k.started <- context.Cause(k.ctx)
	case waitErr != nil:
		k.p.code, k.p.err = -1, fmt.Errorf("sandbox: wait for the step: %w", waitErr)
	default:
		k.p.code = exitCode(state)
		k.p.err = k.outcome(failure, cleanErr)
	}
}

// outcome fills in what the exit status of the process does not say.
func (k *keeper) outcome(failure *stage.Failure, cleanErr error) error {
	if cleanErr != nil {
		return fmt.Errorf("sandbox: %w", cleanErr)
	}
	if failure != nil {
		k.p.code = failure.Code
		return &ExecError{Text: failure.Text, Code: failure.Code}
	}
	if k.p.code == 128+int(syscall.SIGKILL) && k.ctx.Err() != nil {
		return context.Cause(k.ctx)
	}
	return nil
}

func exitCode(state *os.ProcessState) int {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// start makes the stage. The pipes are plain blocking ones: waiting in the
// kernel on this thread is quicker than a round through the poller.
func (k *keeper) start() (config, report *os.File, err error) {
	configR, configW, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	defer configR.Close()
	reportR, reportW, err := pipe()
	if err != nil {
		configW.Close()
		return nil, nil, err
	}
	defer reportW.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		defer null.Close()
		files := []*os.File{k.stdio.Stdin, k.stdio.Stdout, k.stdio.Stderr, configR, reportW}
		for i := range files {
			if files[i] == nil {
				files[i] = null
			}
		}
		k.p.proc, err = os.StartProcess(k.exe, []string{stage.Name}, &os.ProcAttr{Env: stageEnv, Files: files, Sys: k.attributes()})
	}
	if err != nil {
		configW.Close()
		reportR.Close()
		return nil, nil, fmt.Errorf("start the first process: %w", err)
	}
	return configW, reportR, nil
}

func (k *keeper) attributes() *syscall.SysProcAttr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	if k.config.Loopback {
		flags |= unix.CLONE_NEWNET
	}
	return &syscall.SysProcAttr{
		Cloneflags: flags, Pdeathsig: syscall.SIGKILL, Setsid: !k.config.Interactive,
	}
}

func pipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// talk tells the stage what to do and listens until the command runs, which
// closes the pipe, or the stage has given up.
func (k *keeper) talk(config, report *os.File) (*stage.Failure, error) {
	defer report.Close()
	err := json.NewEncoder(config).Encode(k.config)
	config.Close()
	if err != nil && !errors.Is(err, syscall.EPIPE) { // EPIPE: it has said why it gave up
		return nil, fmt.Errorf("tell the first process what to do: %w", err)
	}
	ready := false
	for d := json.NewDecoder(report); ; {
		var r stage.Report
		err := d.Decode(&r)
		switch {
		case errors.Is(err, io.EOF) && ready:
			return nil, nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return &stage.Failure{Text: "the first process died before it could run the command"}, nil
		case err != nil:
			return nil, fmt.Errorf("listen to the first process: %w", err)
		case r.Failure != nil:
			return r.Failure, nil
		case r.Stub != nil:
			k.stubs = append(k.stubs, *r.Stub)
		}
		ready = ready || r.Ready
	}
}
