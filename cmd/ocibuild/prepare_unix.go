//go:build unix

package main

import (
	"syscall"
)

// prepare sees to it that who runs this program may use the files that it makes,
// whatever umask it was started with, and that its memory, in which secrets are,
// is written to no file should it crash.
func prepare() {
	syscall.Umask(syscall.Umask(0) &^ 0o700)
	var core syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_CORE, &core) == nil {
		core.Cur = 0
		_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &core) // less is always allowed
	}
}
