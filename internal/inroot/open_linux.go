package inroot

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Rule says what a path may lead through.
type Rule uint64

const (
	// Within takes the directory for the root of the file system: no link and no
	// ".." leads out of it, and an absolute path begins there.
	Within Rule = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	// Plain refuses a link wherever it stands in the path (ELOOP), and an absolute
	// path or one that climbs out of the directory (EXDEV).
	Plain Rule = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	// Own is for a process that has the tree as its root already. An absolute path
	// begins there, and others in the directory.
	Own Rule = unix.RESOLVE_NO_MAGICLINKS

	// SameMount is for use with another rule, and refuses what is mounted in the tree (EXDEV).
	SameMount Rule = unix.RESOLVE_NO_XDEV
)

// disturbances are how often a look-up is tried again after a rename somewhere on
// the machine that made the kernel unsure where ".." leads.
const disturbances = 128

// Open opens name in the directory at, a descriptor or unix.AT_FDCWD, and returns
// a descriptor that programs executed later do not have. flags are those of
// open(2) but cannot make a file. The error is that of the system call and names
// nothing: this is for those who open files by the thousand, or say it themselves.
func Open(at int, name string, flags int, rule Rule) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: uint64(rule)}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(at, name, &how)
		if err == nil {
			return fd, nil
		}
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN) && try < disturbances:
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EAGAIN):
			return stepwise(at, name, flags, rule, err)
		default:
			return -1, err
		}
	}
}

// retry does again what a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
