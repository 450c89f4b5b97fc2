package sandbox

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const oldVar = "OCIBUILD_SANDBOX_OLD"

// What is newer than Linux 4.18, or than the filters of containers that ran on it,
// is not needed by steps without namespaces.
var newCalls = []uint32{
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_CLOSE_RANGE, unix.SYS_OPENAT2, unix.SYS_FACCESSAT2,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_MOUNT_SETATTR, unix.SYS_FCHMODAT2,
}

func TestChrootOnOldKernels(t *testing.T) {
	switch name := os.Getenv(oldVar); name {
	case "":
		for _, answer := range []string{"ENOSYS", "EPERM", "EINVAL"} {
			cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
			cmd.Env = append(os.Environ(), oldVar+"="+answer)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("where new calls are answered by %s: %v\n%s", answer, err, out)
			}
		}
	case "ENOSYS":
		must(t, becomeOld(unix.ENOSYS))
	case "EPERM":
		must(t, becomeOld(unix.EPERM))
	case "EINVAL": // C4: of flags and options, as gVisor answers
		must(t, becomeOld(unix.EINVAL))
	default:
		if fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{}); err == nil {
			unix.Close(fd)
			t.Fatal("this kernel is not old")
		}
	}
}

// becomeOld executes the tests of steps without namespaces where the kernel has no
// new calls.
func becomeOld(answer unix.Errno) error {
	runtime.LockOSThread() // whose filter is that of the program it executes
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	refuse := func(call uint32, answer unix.Errno) {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(answer)})
	}
	if answer == unix.EINVAL {
		filter = slices.Concat(filter, refuseArgument(unix.SYS_PRCTL, 0, unix.PR_SET_CHILD_SUBREAPER), refuseArgument(unix.SYS_PRCTL, 0, unix.PR_GET_CHILD_SUBREAPER),
			refuseArgument(unix.SYS_SECCOMP, 1, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW), refuseArgument(unix.SYS_CLOSE_RANGE, 2, unix.CLOSE_RANGE_CLOEXEC))
		refuse(unix.SYS_OPENAT2, unix.ENOSYS)
	} else {
		for _, call := range newCalls {
			refuse(call, answer)
		}
	}
	refuse(unix.SYS_CLONE3, unix.ENOSYS) // as all filters answer it: libraries of C give up on anything else
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return err
	}
	if err := os.Setenv(oldVar, "is"); err != nil {
		return err
	}
	args := []string{os.Args[0], "-test.run=^TestChroot"}
	for _, a := range os.Args[1:] {
		if !strings.HasPrefix(a, "-test.run") {
			args = append(args, a)
		}
	}
	return unix.Exec("/proc/self/exe", args, os.Environ())
}

// refuseArgument answers a call with EINVAL if one of its arguments has a value.
func refuseArgument(call uint32, index int, value uint32) []unix.SockFilter {
	const numberAt, argumentsAt = 0, 16
	return []unix.SockFilter{
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: argumentsAt + 8*uint32(index)},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: numberAt},
	}
}
