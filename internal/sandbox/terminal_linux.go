package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// keepTerminal remembers the foreground process group of a terminal, which an
// interactive step takes for itself, and returns how to put it back. That is
// nothing when f is not the controlling terminal. The calling goroutine must be
// locked to its thread.
func keepTerminal(f *os.File) (restore func()) {
	nothing := func() {}
	if f == nil {
		return nothing
	}
	fd := int(f.Fd())
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil {
		return nothing
	}
	return func() {
		// The builder is in the background now, and a background process that
		// changes the terminal is stopped unless the signal is blocked.
		var stop, before unix.Sigset_t
		stop.Val[0] = 1 << (unix.SIGTTOU - 1)
		if unix.PthreadSigmask(unix.SIG_BLOCK, &stop, &before) != nil {
			return
		}
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, group)
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	}
}
