package sandbox

import (
	"sync"

	"github.com/ocibuild/ocibuild/internal/sandbox/seccomp"
)

// filter is the system call filter of every step, compiled once in a process.
var filter = sync.OnceValues(func() ([]byte, error) {
	return seccomp.Default([]string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	})
})
