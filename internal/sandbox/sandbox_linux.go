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

	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
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
	send func(os.Signal) error
	done chan struct{} // closed when code and err are set and nothing is left
	code int
	err  error
	hit  string
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
	through, err := s.bundle(config)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	k := &keeper{ctx: ctx, config: config, stdio: stdio, limits: s.Limits, chroot: s.Chroot, hold: s.Hold, started: make(chan error, 1)}
	k.runtime = through
	if !s.Chroot {
		if k.program, err = program(); err != nil {
			return nil, fmt.Errorf("sandbox: %w", err)
		}
	}
	k.p = &Process{done: make(chan struct{})}
	go k.keep()
	if err := <-k.started; err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return k.p, nil
}

// Signal sends sig to the command. It is process 1 of its namespace: a signal
// for which it has no handler does nothing, except for SIGKILL and SIGSTOP.
// Without namespaces (Chroot) it is a process like others.
func (p *Process) Signal(sig os.Signal) error { return p.send(sig) }

// Kill ends the command and with it, by the kernel, its whole process namespace,
// or else all that the command has started.
func (p *Process) Kill() error { return p.send(syscall.SIGKILL) }

// Wait returns the exit code, 128+n for signal n, when every process of the
// step is dead, its mount points are removed and the times of the directories
// they were in are as the step left them. An error beside the code is an
// [*ExecError] (127, 126), the reason why the context was cancelled, or that
// something could not be cleaned up. It may be called more than once.
func (p *Process) Wait() (exitCode int, err error) {
	<-p.done
	return p.code, p.err
}

// Exceeded tells, after Wait, which of its Limits the step has run into, or "".
// It may have coped with that.
func (p *Process) Exceeded() string { return p.hit }

// keeper sees a step through, from before its start until it is cleaned up. It
// is one goroutine on one thread: the kernel kills a child with PDEATHSIG when
// the thread that started it ends, not the process.
type keeper struct {
	p       *Process
	ctx     context.Context // of Start, for this one call
	config  *stage.Config
	program *os.File // nil for a step without /proc, which does not get hold of it
	stdio   Stdio
	limits  cgroup.Limits
	group   *cgroup.Group
	chroot  bool
	hold    *os.File
	runtime *throughRuntime // nil for none
	started chan error

	supervisor *supervisor
	warden     *warden
	stubs      []stage.Stub
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
	stop := context.AfterFunc(k.ctx, func() { _ = k.p.Kill() })
	failure, err := k.talk(config, report)
	if err != nil {
		_ = k.p.Kill()
	}
	setup := failure != nil && failure.Code == 0
	if err == nil && !setup {
		k.started <- nil
	}
	code, waitErr := k.wait()
	stop()
	k.p.hit = k.group.Exceeded()
	cleanErr := errors.Join(k.supervisor.stop(), k.group.Remove(), removeStubs(k.config.Rootfs, k.stubs))
	switch {
	case err != nil:
		k.started <- errors.Join(err, cleanErr)
	case setup && k.ctx.Err() == nil:
		k.started <- errors.Join(errors.New(failure.Text), exceeded(k.p.hit), cleanErr)
	case setup:
		k.started <- context.Cause(k.ctx)
	case waitErr != nil:
		k.p.code, k.p.err = -1, fmt.Errorf("sandbox: wait for the step: %w", errors.Join(waitErr, exceeded(k.p.hit)))
	default:
		k.p.code = code
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
	return k.runtime.failure(k.p.code)
}

// wait returns the exit code of the command when nothing of the step is left.
func (k *keeper) wait() (int, error) {
	state, err := k.p.proc.Wait()
	if err != nil {
		return -1, err
	}
	if k.warden != nil {
		return k.warden.ended(state)
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return state.ExitCode(), nil
	}
	return codeOf(status), nil
}

func codeOf(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// start makes the stage. The pipes are plain blocking ones: waiting in the
// kernel on this thread is quicker than a round through the poller.
func (k *keeper) start() (config, report *os.File, err error) {
	attr, err := k.attributes()
	if err != nil {
		return nil, nil, err
	}
	if k.group, err = cgroup.New(k.limits); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.group.Remove())
		}
	}()
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
	files, done, err := k.files()
	defer done()
	if err == nil {
		files = append(files, configR, reportW)
		err = k.launch(&os.ProcAttr{Env: stageEnv, Files: files, Sys: attr})
	}
	if err != nil {
		configW.Close()
		reportR.Close()
		return nil, nil, fmt.Errorf("start the first process: %w", err)
	}
	return configW, reportR, nil
}

// launch starts the stage in its control group.
func (k *keeper) launch(attr *os.ProcAttr) error {
	around := k.supervised
	if k.chroot {
		around = k.guarded
	}
	err := around(attr, func() error {
		exe := self
		if k.program != nil {
			exe = pathOf(len(attr.Files))
			attr.Files = append(attr.Files, k.program)
		}
		return k.group.Start(func(fd int) (err error) {
			attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = fd >= 0, max(fd, 0)
			k.p.proc, err = os.StartProcess(exe, []string{k.firstProcess(stage.Name)}, attr)
			if err == nil {
				k.p.send = k.p.proc.Signal
			}
			return err
		})
	})
	if err != nil && k.p.proc != nil { // it runs, but this thread cannot leave its group
		_ = k.p.proc.Kill()
		_, _ = k.p.proc.Wait()
	}
	return err
}

func (k *keeper) attributes() (*syscall.SysProcAttr, error) {
	if k.chroot { // the reaper notices by itself when we are gone, and kills what is left
		return &syscall.SysProcAttr{Setsid: !k.config.Interactive}, nil
	}
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if k.runtime != nil {
		flags = unix.CLONE_NEWNS | unix.CLONE_NEWPID // the others are the runtime's to make
	} else if k.config.Loopback {
		flags |= unix.CLONE_NEWNET
	}
	attr := &syscall.SysProcAttr{
		Cloneflags: flags, Pdeathsig: syscall.SIGKILL, Setsid: !k.config.Interactive,
	}
	if len(k.config.Emulators) > 0 {
		return attr, ownUsers(attr)
	}
	return attr, nil
}

func exceeded(limit string) error {
	if limit == "" {
		return nil
	}
	return errors.New(limit)
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
