//go:build linux && (386 || arm)

package notify

import "golang.org/x/sys/unix"

// Calls of 32-bit processors are not answered (abis): the table only has to compile.
const (
	sysFstatat   = unix.SYS_FSTATAT64
	sysSetrlimit = unix.SYS_SETRLIMIT
)
