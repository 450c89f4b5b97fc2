package stage

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// enterTree builds the step's mounts and makes them the root of this process.
func enterTree(c *Config) error {
	t, err := buildTree(c)
	if err != nil {
		return err
	}
	return t.enter()
}

// buildTree builds the step's mounts where its root is.
func buildTree(c *Config) (*tree, error) {
	// Before anything else: what is mounted here must not appear elsewhere.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make the mounts private: %w", err)
	}
	sources, err := openSources(c.Mounts)
	if err != nil {
		return nil, err
	}
	root, err := copyRoot(c)
	if err != nil {
		return nil, err
	}
	files, err := attachFiles(c) // over the root's place, so after copying the root
	if err != nil {
		return nil, err
	}
	t, err := attachRoot(c, root)
	if err != nil {
		return nil, err
	}
	if err := t.furnish(c); err != nil {
		return nil, err
	}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if err := t.mountOne(c, m, sources[i], files, i); err != nil {
			return nil, fmt.Errorf("mount %s at %s: %w", m.Kind, m.Target, err)
		}
	}
	if err := t.makeCwd(c.Cwd); err != nil {
		return nil, fmt.Errorf("make the working directory %s: %w", c.Cwd, err)
	}
	if c.ReadOnlyRoot { // now that nothing more is made in it
		if err := setAttrs(t.root.FD(), readOnly, false); err != nil {
			return nil, fmt.Errorf("make the root read-only: %w", err)
		}
	}
	return t, nil
}

// copyRoot gives the step a mount of its root that is its own: with flags that
// do not change anybody else's, and fit for pivot_root.
func copyRoot(c *Config) (int, error) {
	fd, err := clone(unix.AT_FDCWD, c.Rootfs, unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("copy the mount of the root %s: %w", c.Rootfs, err)
	}
	if c.Insecure {
		return fd, nil
	}
	// Devices that an image or a step makes must not open the host's.
	if err := setAttrs(fd, unix.MOUNT_ATTR_NODEV, true); err != nil {
		return -1, fmt.Errorf("forbid devices in the root %s: %w", c.Rootfs, err)
	}
	return fd, nil
}

func attachRoot(c *Config, fd int) (*tree, error) {
	if err := attachAt(fd, unix.AT_FDCWD, c.Rootfs); err != nil {
		return nil, fmt.Errorf("mount the root %s: %w", c.Rootfs, err)
	}
	t := &tree{root: inroot.NewRoot(fd, "the image"), mount: mountOf(fd), uid: c.UID, gid: c.GID, noted: len(c.Notify) > 0}
	if t.mount == 0 {
		return nil, errors.New("the kernel does not tell mounts apart (statx mount id, Linux 5.8)")
	}
	return t, nil
}

// furnish mounts what every step has.
func (t *tree) furnish(c *Config) error {
	if c.Runtime != nil {
		return t.furnishForRuntime(c)
	}
	proc, err := newFS("proc", noSuidDevExec)
	if err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := t.attachBase(proc, "proc"); err != nil {
		return err
	}
	if err := t.mountBinfmt(c.Emulators); err != nil {
		return err
	}
	if err := t.mountDev(c); err != nil {
		return err
	}
	if err := t.mountSys(c); err != nil {
		return err
	}
	if c.Insecure {
		return nil
	}
	// Paths below are relative to the new root: one call a mount is enough,
	// since all of them lie in file systems that were made a moment ago.
	if err := unix.Fchdir(t.root.FD()); err != nil {
		return fmt.Errorf("go to the root: %w", err)
	}
	return protect(c)
}

// attachBase puts a mount on /proc, /dev or /sys. A symbolic link of that name
// in the image would move the mount, and all protection with it, elsewhere.
func (t *tree) attachBase(mount int, name string) error {
	defer unix.Close(mount)
	fd, err := t.basePlace(name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := attach(mount, fd); err != nil {
		return fmt.Errorf("mount /%s: %w", name, err)
	}
	return nil
}

// basePlace opens the place of such a mount, and makes it when missing.
func (t *tree) basePlace(name string) (int, error) {
	fd, err := unix.Openat(t.root.FD(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = t.create(t.root.FD(), name, stubDir)
	}
	if err != nil {
		return -1, fmt.Errorf("open /%s of the image: %w", name, err)
	}
	if dir, err := isDir(fd); err != nil || !dir {
		unix.Close(fd)
		return -1, fmt.Errorf("/%s of the image must be a directory, not a symbolic link or a file", name)
	}
	return fd, nil
}

func (t *tree) mountSys(c *Config) error {
	attrs := noSuidDevExec | readOnly
	if c.Insecure {
		attrs = noSuidDevExec
	}
	sys, err := newFS("sysfs", attrs)
	if errors.Is(err, unix.EPERM) {
		// A user namespace with the host's network may not make a new one.
		if sys, err = clone(unix.AT_FDCWD, "/sys", unix.AT_RECURSIVE); err == nil {
			err = setAttrs(sys, uint64(attrs), true)
		}
		if err != nil {
			return fmt.Errorf("mount /sys: %w", err)
		}
		if err := t.attachBase(sys, "sys"); err != nil {
			return err
		}
		return t.hideGroups(c, attrs)
	}
	if err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := t.attachBase(sys, "sys"); err != nil {
		return err
	}
	_, err = t.mountCgroup(attrs)
	return err
}

// hideGroups covers the host's control groups, which a copy of its /sys brings
// along: their names tell what else runs there, and a program that looks for its
// own limits would find those of the machine.
func (t *tree) hideGroups(c *Config, attrs int) error {
	if c.Insecure {
		return nil
	}
	if c.Runtime == nil { // whose namespace of control groups is yet to be made
		if shown, err := t.mountCgroup(attrs); shown || err != nil {
			return err
		}
	}
	empty, err := newFS("tmpfs", noSuidDevExec|readOnly, "mode=755", "nr_inodes=1")
	if err != nil {
		return fmt.Errorf("hide %s: %w", groups, err)
	}
	defer unix.Close(empty)
	if err := attachAt(empty, t.root.FD(), groups[1:]); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("hide %s: %w", groups, err)
	}
	return nil
}

// mountCgroup shows the step its own control group where the host has the
// unified hierarchy. Elsewhere the directory stays empty, which programs take
// as "no limits".
func (t *tree) mountCgroup(attrs int) (shown bool, err error) {
	if !Unified() {
		return false, nil
	}
	fd, err := newFS("cgroup2", attrs)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("mount %s: %w", groups, err)
	}
	defer unix.Close(fd)
	if err := attachAt(fd, t.root.FD(), groups[1:]); err != nil {
		return false, fmt.Errorf("mount %s: %w", groups, err)
	}
	return true, nil
}

// Unified tells whether the host has the unified hierarchy of control groups alone.
func Unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(groups, &st) == nil && int64(st.Type) == unix.CGROUP2_SUPER_MAGIC
}

// enter makes the tree the root of this process and lets go of the host's.
func (t *tree) enter() error {
	if err := unix.Fchdir(t.root.FD()); err != nil {
		return fmt.Errorf("go to the root: %w", err)
	}
	// Not chroot: a process with CAP_SYS_CHROOT walks out of that again. With
	// the same directory as both arguments the old root ends up on top of the
	// new one, from where it is taken off.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("go to the new root: %w", err)
	}
	return nil
}
