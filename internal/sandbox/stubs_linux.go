package sandbox

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// removeStubs takes away what was made in the image only to carry mounts. The
// step may have moved, replaced or filled anything, so nothing is followed and
// only what is still the same, and empty, goes. All processes of the step are
// dead, so nothing changes between the look and the deed.
func removeStubs(rootfs string, stubs []stage.Stub) error {
	if len(stubs) == 0 {
		return nil
	}
	root, err := inroot.OpenRoot(rootfs, "the image")
	if err != nil {
		return fmt.Errorf("remove the mount points: %w", err)
	}
	defer root.Close()
	var failed []error
	for _, s := range slices.Backward(stubs) { // what is inside goes first
		if err := removeStub(root, &s); err != nil {
			failed = append(failed, fmt.Errorf("remove the mount point %s in %s: %w", s.Name, s.Parent, err))
		}
	}
	return errors.Join(failed...)
}

func removeStub(root *inroot.Root, s *stage.Stub) error {
	parent, err := root.Open("."+s.Parent, unix.O_PATH|unix.O_DIRECTORY, inroot.Plain|inroot.SameMount)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	var dir unix.Stat_t
	if err := unix.Fstat(parent, &dir); err != nil {
		return err
	}
	if uint64(dir.Dev) != s.ParentDev || dir.Ino != s.ParentIno {
		return nil
	}
	if same, err := unchanged(parent, s); err != nil || !same {
		return err
	}
	flags := 0
	if s.Dir {
		flags = unix.AT_REMOVEDIR
	}
	err = unix.Unlinkat(parent, s.Name, flags)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil // the step put something there: now it is the image's
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(parent, ".", []unix.Timespec{dir.Atim, dir.Mtim}, 0)
}

// unchanged tells whether a stub is still what was made, and empty.
func unchanged(parent int, s *stage.Stub) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(parent, s.Name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return uint64(st.Dev) == s.Dev && st.Ino == s.Ino && (s.Dir || st.Size == 0 && st.Nlink == 1), nil
}

// gone tells that the step removed, moved or replaced what was looked for.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV)
}
