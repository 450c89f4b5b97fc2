package notify

import "golang.org/x/sys/unix"

// This processor has no setrlimit of its own: prlimit64 is all there is.
const (
	sysFstatat   = unix.SYS_NEWFSTATAT
	sysSetrlimit = unix.SYS_PRLIMIT64
)
