//go:build !386 && !arm && !loong64

package notify

import "golang.org/x/sys/unix"

const (
	sysFstatat   = unix.SYS_NEWFSTATAT
	sysSetrlimit = unix.SYS_SETRLIMIT
)
