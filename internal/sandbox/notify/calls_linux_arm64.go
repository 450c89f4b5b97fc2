package notify

import "golang.org/x/sys/unix"

// Programs for 32-bit ARM come through an interface of their own, and are killed.
var abis = []abi{{audit: unix.AUDIT_ARCH_AARCH64, calls: everyCall}}
