package notify

import "golang.org/x/sys/unix"

// Programs for 32-bit ARM come through an interface of their own, and are killed.
var abis = []abi{{audit: unix.AUDIT_ARCH_AARCH64, calls: everyCall}}

// procABIs leave programs for 32 bits alone.
var procABIs = []abi{{audit: unix.AUDIT_ARCH_AARCH64, calls: procCalls}, {audit: unix.AUDIT_ARCH_ARM}}
