package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
)

// supervisor is the process that answers calls of the step. A nil one is that of
// a step that needs none.
type supervisor struct {
	cmd   *exec.Cmd
	said  strings.Builder
	over  atomic.Bool // the step has ended, and there is nothing left to answer
	ended chan struct{}
	err   error // set when ended is closed
}

// supervised starts the supervisor, if the step is to have one, and gives the
// stage that start is about to start the other end of its socket.
func (k *keeper) supervised(attr *os.ProcAttr, start func() error) error {
	if len(k.config.Notify) == 0 {
		return start()
	}
	s, theirs, err := startSupervisor(k.program, k.config.Insecure)
	if err != nil {
		return err
	}
	defer theirs.Close()
	attr.Files = append(attr.Files, theirs)
	if err := start(); err != nil {
		s.watch(func() {})
		return errors.Join(err, s.stop())
	}
	k.supervisor = s
	s.watch(func() { _ = k.p.proc.Kill() })
	return nil
}

// startSupervisor returns the other end of the socket, too. The calling
// goroutine must stay on its thread until the step is over.
func startSupervisor(program *os.File, insecure bool) (*supervisor, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "stage")
	defer ours.Close()
	s := &supervisor{ended: make(chan struct{})}
	args := []string{notify.Name}
	if insecure {
		args = append(args, "insecure")
	}
	s.cmd = &exec.Cmd{
		Path: pathOf(notify.SocketFD + 1), Args: args, Env: []string{}, Dir: "/", Stderr: &s.said, ExtraFiles: []*os.File{ours, program},
		// A session of its own: what a terminal sends is for the step.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
	}
	if err := s.cmd.Start(); err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("start the supervisor: %w", err)
	}
	return s, theirs, nil
}

// watch waits for the end of the supervisor. Without it the step's calls would
// fail, one after the other, in ways that say nothing; so the step is killed.
func (s *supervisor) watch(kill func()) {
	go func() {
		err := s.cmd.Wait()
		if err != nil && !s.wasStopped() {
			s.err = fmt.Errorf("the supervisor of the step died: %w: %s", err, strings.TrimSpace(s.said.String()))
			kill()
		}
		close(s.ended)
	}()
}

// farewell is what the supervisor is ended with. It is not the signal that the
// kernel or an administrator kills with: of a supervisor that is dying already it
// changes nothing, and so what it has died of is told even if the step, whose
// calls failed meanwhile, was quicker to end.
const farewell = syscall.SIGTERM

// wasStopped tells, of one that has ended, whether it was told to.
func (s *supervisor) wasStopped() bool {
	status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return s.over.Load() && ok && status.Signaled() && status.Signal() == farewell
}

// stop ends the supervisor when no process of the step is left, and tells
// whether it died before.
func (s *supervisor) stop() error {
	if s == nil {
		return nil
	}
	s.over.Store(true)
	_ = s.cmd.Process.Signal(farewell) // it may have ended by itself
	<-s.ended
	return s.err
}
