package stage

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capabilities are the fourteen that Docker gives to a container, as a mask.
const capabilities uint64 = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID |
	1<<unix.CAP_SETUID | 1<<unix.CAP_SETFCAP | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE |
	1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_KILL | 1<<unix.CAP_AUDIT_WRITE

// errRights are how the kernel says that this process may not do something.
func errRights(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

// giveUpRights becomes the user of the step, with the capabilities of keep at
// most. lenient tells that this process may lack the rights to give some up. All
// calls are raw: Go's own change the credentials of every thread, which costs a
// round of signals and is of no use where execve is about to end the other threads.
func giveUpRights(c *Config, keep uint64, lenient bool) error {
	ownStdio(c.UID)
	if err := setLimits(c.Rlimits); err != nil {
		return err
	}
	// A new session keyring, or the step could ask for the builder's keys.
	// Where the kernel has no keyrings, or forbids new ones, there is no harm:
	// the filter below denies all three calls.
	_, _, _ = unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	if c.Insecure {
		keep = ^uint64(0)
	}
	// Before the other filter, which need not allow it.
	if err := supervise(c.Notify); err != nil {
		return err
	}
	// While CAP_SYS_ADMIN is still here: without it the kernel asks for
	// no_new_privs, with which sudo and su in a step would not work. A container
	// without it has a filter of its own, under which the command is as well.
	if err := installFilter(c.Seccomp); err != nil && (!lenient || !errRights(err)) {
		return err
	}
	// Without CAP_SETPCAP nothing can be dropped for good: programs that root
	// executes have the rest again. They have no more than the builder has.
	if err := dropBounding(keep); err != nil && (!lenient || !errRights(err)) {
		return err
	}
	if c.Insecure { // or another user than root would lose them all
		if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("keep the capabilities: %w", err)
		}
	}
	if err := setIDs(c); err != nil {
		return err
	}
	if c.UID != 0 && !c.Insecure {
		keep = 0
	}
	return setCapabilities(keep, c.Insecure)
}

// ownStdio lets the step open /dev/stdout: a pipe belongs to the user that made
// it, and opening it anew is checked against that.
func ownStdio(uid uint32) {
	if uid == 0 {
		return
	}
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			_ = unix.Fchown(fd, int(uid), -1)
		}
	}
}

func installFilter(filter []byte) error {
	size := int(unsafe.Sizeof(unix.SockFilter{}))
	if len(filter) < size {
		return nil
	}
	prog := unix.SockFprog{
		Len:    uint16(len(filter) / size),
		Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(filter))),
	}
	// The kernel's slow answer to speculation is off, as it is for every
	// process without a filter on current kernels. gVisor has no such flag.
	var errno unix.Errno
	for _, flags := range []uintptr{unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0} {
		_, _, errno = unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		if errno != unix.EINVAL {
			break
		}
	}
	if errno != 0 {
		return fmt.Errorf("install the system call filter: %w", errno)
	}
	return nil
}

func dropBounding(keep uint64) error {
	for c := uintptr(0); c < 64; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
		if errno == unix.EINVAL {
			return nil // the kernel's last one is behind us
		}
		if errno != 0 {
			return fmt.Errorf("drop capability %d: %w", c, errno)
		}
	}
	return nil
}

func setIDs(c *Config) error {
	groups := c.Groups
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	// A user namespace with a single id forbids the call: the builder's groups
	// can be neither dropped nor replaced there. They are not mapped, so the
	// step cannot name them, but files of the host still heed them.
	if errno != 0 && (errno != unix.EPERM || !setgroupsDenied()) {
		return fmt.Errorf("set the groups %v: %w", groups, errno)
	}
	gid, uid := uintptr(c.GID), uintptr(c.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("become group %d: %w%s", c.GID, errno, unmapped(errno))
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("become user %d: %w%s", c.UID, errno, unmapped(errno))
	}
	// Changing ids made the kernel forget that this process dies with the builder.
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0); errno != 0 {
		return fmt.Errorf("tie the step to the builder: %w", errno)
	}
	return nil
}

func setgroupsDenied() bool {
	fd, err := unix.Open("/proc/self/setgroups", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var buf [4]byte
	n, _ := unix.Read(fd, buf[:])
	return string(buf[:n]) == "deny"
}

func unmapped(errno unix.Errno) string {
	if errors.Is(errno, unix.EINVAL) {
		return " (the user namespace has no such id; see /etc/subuid and /etc/subgid)"
	}
	return ""
}

// setCapabilities leaves the inheritable and, with them, the ambient ones empty,
// unless they are to be those of every program that the command executes.
func setCapabilities(keep uint64, ambient bool) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	_, _, errno := unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("read the capabilities: %w", errno)
	}
	for i := range data {
		// What the builder lacks it cannot give.
		data[i].Permitted &= uint32(keep >> (32 * i))
		data[i].Effective = data[i].Permitted
		data[i].Inheritable = 0
		if ambient {
			data[i].Inheritable = data[i].Permitted
		}
	}
	_, _, errno = unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("set the capabilities: %w", errno)
	}
	for c := uintptr(0); ambient && c < 64; c++ {
		if data[c/32].Permitted&(1<<(c%32)) == 0 {
			continue
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0, 0)
		if errno != 0 {
			return fmt.Errorf("give capability %d to all programs: %w", c, errno)
		}
	}
	return nil
}
