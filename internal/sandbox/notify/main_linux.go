package notify

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Name is argv[0] of the supervisor. An argument after it tells that the step
// may mount, so that its processes may have roots that nobody hears of.
const Name = "ocibuild-owners"

// SocketFD is where the supervisor finds the socket on which the first process
// of the step, which has the other end, sends the handle of its filter.
const SocketFD = 3

// The one initialiser that does work. As with the stage, it comes before those
// of most packages, and so the supervisor is there before it is needed.
func init() {
	if len(os.Args) >= 1 && os.Args[0] == Name {
		if err := run(len(os.Args) > 1); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// run is called on the main thread, to which Go pins initialisers: the root and
// the working directory that it takes are that thread's alone.
func run(moved bool) error {
	listener, err := receive(SocketFD)
	if err != nil || listener < 0 {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the supervisor unreadable: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("have a working directory apart from other threads: %w", err)
	}
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Fchdir(proc)
	}
	if err != nil {
		return fmt.Errorf("go to /proc: %w", err)
	}
	unix.Umask(0)
	s := &supervisor{
		listener: listener, proc: proc, moved: moved,
		handlers: map[number]func(*supervisor) reply{}, numbers: map[string]uint64{}, execs: map[string]*execing{},
	}
	for _, a := range abis {
		for _, c := range a.calls {
			s.handlers[number{int32(c.number), a.audit}] = c.handle
		}
	}
	return s.serve()
}

// receive waits for the handle; -1 tells that no step came to be.
func receive(socket int) (int, error) {
	defer unix.Close(socket)
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return -1, fmt.Errorf("%s: is only started by ocibuild itself: %w", Name, err)
		case n == 0:
			return -1, nil
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			return -1, fmt.Errorf("receive the filter's handle: %w", errors.Join(err, unix.EBADMSG))
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return -1, fmt.Errorf("receive the filter's handle: %w", errors.Join(err, unix.EBADMSG))
		}
		return fds[0], nil
	}
}

// Send gives the supervisor, at the other end of socket, the handle.
func Send(socket, listener int) error {
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("give the filter's handle to the supervisor: %w", err)
	}
	return nil
}
