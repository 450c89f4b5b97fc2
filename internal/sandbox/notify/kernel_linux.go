package notify

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif, with room for what newer kernels add.
type notification struct {
	id    uint64
	pid   uint32 // a thread's
	_     uint32
	what  number
	_     uint64
	args  [6]uint64
	_rest [256]byte
}

// number is that of a call, and of the interface it came through.
type number struct {
	call  int32
	audit uint32
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// injection is struct seccomp_notif_addfd.
type injection struct {
	id                            uint64
	flags, srcfd, newfd, newflags uint32
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// listenerFlags are those of seccomp(2) for installing [Filter]. Once a call is
// being answered, only death interrupts the process that made it.
const listenerFlags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV |
	unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW

// Supported tells why the kernel, or how it is set up, does not allow a
// supervisor; nil if it does.
func Supported() error {
	if len(abis) == 0 {
		return errors.New("the system calls of this processor are not known")
	}
	// The kernel looks at the flags first and finds no program then.
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, listenerFlags, 0)
	if errno != unix.EFAULT {
		return fmt.Errorf("the kernel does not let system calls be answered for others (Linux 5.19): %w", errno)
	}
	if scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && strings.TrimSpace(string(scope)) == "3" {
		return errors.New("sysctl kernel.yama.ptrace_scope is 3: no process may read the memory of another")
	}
	return nil
}

// Install installs the filter on this thread and returns the handle on which a
// supervisor hears of calls.
func Install(filter []byte) (int, error) {
	size := int(unsafe.Sizeof(unix.SockFilter{}))
	prog := unix.SockFprog{
		Len:    uint16(len(filter) / size),
		Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(filter))),
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, listenerFlags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, fmt.Errorf("install the filter of calls that are answered: %w", errno)
	}
	return int(fd), nil
}
