package notify

import "golang.org/x/sys/unix"

// Programs for 32-bit ARM come through an interface of their own, and are killed.
const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	foreign   = 0
)

// olderCalls are those that newer processors do without.
var olderCalls []call
