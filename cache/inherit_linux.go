package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

// inheritNothing makes what is created in a folder of the store have the mode and
// the owner that it is created with, and no more: a default access control list or
// a set-gid bit of the folder that the store lies in would get into images.
func inheritNothing(path string) error {
	const acl = "system.posix_acl_default"
	if _, err := unix.Lgetxattr(path, acl, nil); err == nil {
		if err := unix.Lremovexattr(path, acl); err != nil {
			return &os.PathError{Op: "remove the default access control list of", Path: path, Err: err}
		}
	}
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode()&os.ModeSetgid == 0 {
		return err
	}
	return os.Chmod(path, fi.Mode().Perm())
}
