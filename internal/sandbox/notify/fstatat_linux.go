//go:build !386 && !arm

package notify

import "golang.org/x/sys/unix"

const sysFstatat = unix.SYS_NEWFSTATAT
