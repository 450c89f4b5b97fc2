package confined

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/seccomp"
)

// name is argv[0] of the process that gives up its rights.
const name = "ocibuild-test-confined"

// capabilities are those that Docker gives to a container.
var capabilities = map[string]uint{
	"CAP_CHOWN": unix.CAP_CHOWN, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_FSETID": unix.CAP_FSETID, "CAP_FOWNER": unix.CAP_FOWNER,
	"CAP_MKNOD": unix.CAP_MKNOD, "CAP_NET_RAW": unix.CAP_NET_RAW, "CAP_SETGID": unix.CAP_SETGID, "CAP_SETUID": unix.CAP_SETUID,
	"CAP_SETFCAP": unix.CAP_SETFCAP, "CAP_SETPCAP": unix.CAP_SETPCAP, "CAP_NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE,
	"CAP_SYS_CHROOT": unix.CAP_SYS_CHROOT, "CAP_KILL": unix.CAP_KILL, "CAP_AUDIT_WRITE": unix.CAP_AUDIT_WRITE,
}

// Command is exec.Command for a program that is to be confined, but for the
// capabilities in without, which it does not have either. It takes root.
func Command(path string, args []string, without ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe")
	cmd.Args = []string{name, strings.Join(without, ","), path}
	cmd.Args = append(cmd.Args, args...)
	return cmd
}

func init() {
	if len(os.Args) > 2 && os.Args[0] == name {
		err := Exec(strings.Split(os.Args[1], ","), os.Args[2:])
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(125)
	}
}

// Exec makes this process a program that is confined, as Command does. It returns
// only when that did not work.
func Exec(without, args []string) error {
	runtime.LockOSThread() // rights belong to a thread, and the program gets those of the caller
	keep := map[uint]bool{}
	var names []string
	for n, number := range capabilities {
		if !slices.Contains(without, n) {
			names, keep[number] = append(names, n), true
		}
	}
	filter, err := seccomp.Default(names)
	if err != nil {
		return err
	}
	if err := install(filter); err != nil { // while it may: afterwards it takes no_new_privs
		return fmt.Errorf("install the filter: %w", err)
	}
	for c := range uint(64) {
		if keep[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // there are no more
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return unix.Exec(path, args, os.Environ()) // which leaves root no more than the bounding set
}

func install(filter []byte) error {
	prog := unix.SockFprog{
		Len:    uint16(len(filter) / int(unsafe.Sizeof(unix.SockFilter{}))),
		Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(filter))),
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}
