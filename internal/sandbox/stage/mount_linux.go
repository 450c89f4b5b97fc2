package stage

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// The flags of nearly every mount of a step.
const (
	noSuidDev     = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	noSuidDevExec = noSuidDev | unix.MOUNT_ATTR_NOEXEC
	readOnly      = unix.MOUNT_ATTR_RDONLY
)

// newFS makes a file system that is mounted nowhere yet. Mounting through
// handles leaves no moment at which a path could be swapped.
func newFS(kind string, attrs int, options ...string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open file system %s: %w", kind, err)
	}
	defer unix.Close(fs)
	// What mount(8) and programs that read the list of mounts show as the device.
	for _, o := range append([]string{"source=" + kind}, options...) {
		key, value, _ := strings.Cut(o, "=")
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return -1, fmt.Errorf("configure %s with %s: %w", kind, o, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create file system %s: %w", kind, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, err)
	}
	return fd, nil
}

// clone copies the mount at a handle or path, mounted nowhere yet.
func clone(dir int, name string, flags uint) (int, error) {
	flags |= unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.OpenTree(dir, name, flags)
}

func setAttrs(fd int, attrs uint64, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: attrs})
}

// attach puts a mount over what a handle stands for.
func attach(mount, target int) error {
	return unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// attachAt puts a mount over name in dir; name must not be a link.
func attachAt(mount, dir int, name string) error {
	return unix.MoveMount(mount, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
