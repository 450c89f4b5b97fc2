package reaper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Adopts tells whether the kernel gives a reaper the orphans of its step. Steps may
// run side by side only then.
func Adopts() bool {
	var on int32
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0, 0)
	return errno != unix.EINVAL
}
