package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// foreground returns a function that takes the terminal back from a command
// that owned it, so that a script which called us can go on reading from it.
func foreground(terminal *os.File, taken bool) func() {
	fd := int(terminal.Fd())
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if !taken || err != nil || group != unix.Getpgrp() {
		return func() {}
	}
	return func() {
		signal.Ignore(syscall.SIGTTOU) // taking it from the background would stop us
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, group)
		signal.Reset(syscall.SIGTTOU)
	}
}
