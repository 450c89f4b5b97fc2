package stage

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

var devLinks = [][2]string{
	{"/proc/self/fd", "fd"},
	{"/proc/self/fd/0", "stdin"},
	{"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"},
	{"pts/ptmx", "ptmx"},
}

// mountDev builds /dev from nothing. What the image has there is never looked
// at, so no link in it can lead a device or a mount astray.
func (t *tree) mountDev(c *Config) error {
	dev, err := newFS("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, c.labelled("mode=755", "size=65536k")...)
	if err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	// attachBase closes its mount; this handle is needed a little longer.
	keep, err := unix.FcntlInt(uintptr(dev), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	defer unix.Close(keep)
	if err := t.attachBase(dev, "dev"); err != nil {
		return err
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], keep, l[1]); err != nil {
			return fmt.Errorf("link /dev/%s: %w", l[1], err)
		}
	}
	if err := makeDevices(keep); err != nil {
		return err
	}
	if c.Insecure {
		if err := makeInsecureDevices(keep); err != nil {
			return err
		}
	}
	return mountDevDirs(keep, c)
}

func makeDevices(dev int) error {
	unix.Umask(0)
	defer unix.Umask(0o022)
	for _, d := range devices {
		number := unix.Mkdev(d.major, d.minor)
		err := unix.Mknodat(dev, d.name, unix.S_IFCHR|0o666, int(number))
		if errors.Is(err, unix.EPERM) { // in a user namespace
			err = bindDevice(dev, d.name, number)
		}
		if err != nil {
			return fmt.Errorf("make /dev/%s: %w", d.name, err)
		}
	}
	return nil
}

// bindDevice shows the host's device, after a look at what it really is.
func bindDevice(dev int, name string, number uint64) error {
	fd, err := clone(unix.AT_FDCWD, "/dev/"+name, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || uint64(st.Rdev) != number {
		return fmt.Errorf("/dev/%s of the host is not that device", name)
	}
	if err := setAttrs(fd, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, false); err != nil {
		return err
	}
	if err := touch(dev, name); err != nil {
		return err
	}
	return attachAt(fd, dev, name)
}

func mountDevDirs(dev int, c *Config) error {
	pts, err := newFS("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, c.labelled("ptmxmode=0666", "mode=0620", "gid=5")...)
	if errors.Is(err, unix.EINVAL) { // group 5, "tty" everywhere, is not mapped
		pts, err = newFS("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, c.labelled("ptmxmode=0666", "mode=0620")...)
	}
	if err := attachNew(dev, "pts", pts, err); err != nil {
		return err
	}
	if err := mountShm(dev, c); err != nil {
		return err
	}
	if c.Runtime != nil { // the queues belong to a namespace that it has not made yet
		if err := unix.Mkdirat(dev, "mqueue", 0o755); err != nil {
			return fmt.Errorf("make /dev/mqueue: %w", err)
		}
		return nil
	}
	fd, err := newFS("mqueue", noSuidDevExec, c.labelled()...)
	return attachNew(dev, "mqueue", fd, err)
}

// mountShm mounts /dev/shm, unless the step has one of its own: two would lie on each
// other, and programs that read the list of mounts take the wrong one.
func mountShm(dev int, c *Config) error {
	const name = "shm"
	for i := range c.Mounts {
		if path.Clean(c.Mounts[i].Target) != "/dev/"+name || c.Mounts[i].Optional {
			continue
		}
		if err := unix.Mkdirat(dev, name, 0o755); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
		return nil
	}
	fd, err := newFS("tmpfs", noSuidDevExec, c.labelled("mode=1777", "size=64m")...)
	return attachNew(dev, name, fd, err)
}

func attachNew(dev int, name string, fd int, err error) error {
	if err != nil {
		return fmt.Errorf("mount /dev/%s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Mkdirat(dev, name, 0o755); err != nil {
		return fmt.Errorf("make /dev/%s: %w", name, err)
	}
	if err := attachAt(fd, dev, name); err != nil {
		return fmt.Errorf("mount /dev/%s: %w", name, err)
	}
	return nil
}
