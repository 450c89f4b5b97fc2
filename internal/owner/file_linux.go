package owner

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// longest is that of a text, with room to tell a longer one.
const longest = 64

// Get returns the owner that the file at path carries. follow tells whether
// path may end in a symbolic link, such as those of /proc/self/fd, that leads to
// the file; without it the link itself is meant.
func Get(path string, follow bool) (Owner, error) {
	get := unix.Lgetxattr
	if follow {
		get = unix.Getxattr
	}
	var buf [longest]byte
	n, err := get(path, Attr, buf[:])
	if err == nil {
		o, _ := Parse(string(buf[:n])) // what a step has written there itself may be anything
		return o, nil
	}
	if !none(err) {
		return Owner{}, fmt.Errorf("read attribute %s: %w", Attr, err)
	}
	n, err = get(path, Capability, buf[:])
	if err == nil {
		o, _ := ParseCapability(buf[:n])
		return o, nil
	}
	if !none(err) {
		return Owner{}, fmt.Errorf("read attribute %s: %w", Capability, err)
	}
	return Owner{}, nil
}

// none tells that there is no such attribute, or no readable value of ours.
func none(err error) bool {
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EOVERFLOW)
}

// Set makes the file at path, taken as by Get, carry the owner. ENOTSUP and
// EPERM tell that its file system keeps no attributes.
func Set(path string, follow bool, o Owner) error {
	if o == (Owner{}) {
		return clear(path, follow)
	}
	set := unix.Lsetxattr
	if follow {
		set = unix.Setxattr
	}
	err := set(path, Attr, []byte(o.String()), 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
		// No regular file and no directory. Or a tmpfs before Linux 6.6, where
		// the capabilities of a program are lost.
		err = set(path, Capability, o.EncodeCapability(), 0)
	}
	if err != nil {
		return fmt.Errorf("keep the owner %s as an attribute: %w", o, err)
	}
	return nil
}

func clear(path string, follow bool) error {
	get, remove := unix.Lgetxattr, unix.Lremovexattr
	if follow {
		get, remove = unix.Getxattr, unix.Removexattr
	}
	err := remove(path, Attr)
	var buf [longest]byte
	if n, gerr := get(path, Capability, buf[:]); gerr == nil {
		if _, ours := ParseCapability(buf[:n]); ours {
			return remove(path, Capability)
		}
	}
	// Of a file that can have none there is nothing to remove.
	if err == nil || none(err) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return fmt.Errorf("remove attribute %s: %w", Attr, err)
}
