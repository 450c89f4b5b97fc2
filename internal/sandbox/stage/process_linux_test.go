package stage

import (
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// On kernels without close_range, and with it.
func TestFilesOfTheBuilderAreShut(t *testing.T) {
	for name, prepare := range map[string]func() error{
		"with close_range":    func() error { return nil },
		"without close_range": func() error { return refuse(unix.SYS_CLOSE_RANGE, unix.ENOSYS) },
		"without its flag":    func() error { return refuse(unix.SYS_CLOSE_RANGE, unix.EINVAL) },
		"forbidden":           func() error { return refuse(unix.SYS_CLOSE_RANGE, unix.EPERM) },
	} {
		f, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // not unlocked: the filter is this thread's
			err := prepare()
			if err == nil {
				err = shutFiles()
			}
			done <- err
		}()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: the command has the file: %v", name, err)
		}
		f.Close()
	}
}

// refuse makes a call fail for this thread.
func refuse(call uint32, answer unix.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(answer)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
