package stage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openSources copies the mounts of the host paths the step may see, while the
// host's tree is still there. The result has a handle for each bind.
func openSources(mounts []Mount) ([]int, error) {
	fds := make([]int, len(mounts))
	for i := range mounts {
		m := &mounts[i]
		fds[i] = -1
		if m.Kind != Bind {
			continue
		}
		fd, err := clone(unix.AT_FDCWD, m.Source, unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return nil, fmt.Errorf("open %s to mount it at %s: %w", m.Source, m.Target, err)
		}
		attrs := uint64(noSuidDev)
		if m.ReadOnly {
			attrs |= readOnly
		}
		if err := setAttrs(fd, attrs, true); err != nil {
			return nil, fmt.Errorf("prepare %s for %s: %w", m.Source, m.Target, err)
		}
		fds[i] = fd
	}
	return fds, nil
}

// attachFiles writes the bytes of all File mounts to one private file system.
// It is mounted where the root is about to be mounted over it: a part of it can
// only be copied out while it is attached, and there it goes away by itself,
// unseen, together with the old root.
func attachFiles(c *Config) (int, error) {
	files := -1
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if m.Kind != File {
			continue
		}
		if files < 0 {
			var err error
			if files, err = newFS("tmpfs", noSuidDev, c.labelled("mode=700")...); err != nil {
				return -1, fmt.Errorf("hold the file for %s: %w", m.Target, err)
			}
			if err := attachAt(files, unix.AT_FDCWD, c.Rootfs); err != nil {
				return -1, fmt.Errorf("hold the file for %s: %w", m.Target, err)
			}
		}
		if err := writeFile(files, strconv.Itoa(i), m, len(c.Notify) > 0); err != nil {
			return -1, fmt.Errorf("write the file for %s: %w", m.Target, err)
		}
	}
	return files, nil
}

func writeFile(dir int, name string, m *Mount, noted bool) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for data := m.Data; len(data) > 0; {
		n, err := unix.Write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	// Owner before mode: chown clears the setuid bit.
	if err := setOwner(fd, uint32(m.UID), uint32(m.GID), noted); err != nil {
		return err
	}
	return unix.Fchmod(fd, m.Mode)
}

// mountOne puts one mount of the step in its place.
func (t *tree) mountOne(c *Config, m *Mount, source, files, index int) error {
	fd, err := source, error(nil)
	switch m.Kind {
	case Bind:
	case Tmpfs:
		fd, err = newTmpfs(c, m, t.noted)
	case File:
		fd, err = cloneFile(files, index, m)
	default:
		err = fmt.Errorf("unknown kind of mount %q", m.Kind)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dir, err := isDir(fd)
	if err != nil {
		return err
	}
	target, err := t.target(m, dir)
	if err != nil || target < 0 {
		return err
	}
	defer unix.Close(target)
	return attach(fd, target)
}

func newTmpfs(c *Config, m *Mount, noted bool) (int, error) {
	options := []string{fmt.Sprintf("mode=%o", m.Mode)}
	if m.Size > 0 {
		options = append(options, fmt.Sprintf("size=%d", m.Size))
	}
	if !noted && (m.UID != 0 || m.GID != 0) {
		options = append(options, fmt.Sprintf("uid=%d", m.UID), fmt.Sprintf("gid=%d", m.GID))
	}
	fd, err := newFS("tmpfs", noSuidDev, c.labelled(options...)...)
	if err != nil {
		return -1, err
	}
	if noted {
		err = setOwner(fd, uint32(m.UID), uint32(m.GID), noted)
	}
	if err == nil && m.ReadOnly {
		err = setAttrs(fd, readOnly, false)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func cloneFile(files, index int, m *Mount) (int, error) {
	fd, err := clone(files, strconv.Itoa(index), 0)
	if err != nil {
		return -1, err
	}
	attrs := uint64(noSuidDevExec)
	if m.Mode&0o111 != 0 { // as who mounts it has asked
		attrs = noSuidDev
	}
	if m.ReadOnly {
		attrs |= readOnly
	}
	if err := setAttrs(fd, attrs, false); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// target opens the place of a mount, making it when missing. It is -1 when the
// mount is optional and has no place.
func (t *tree) target(m *Mount, dir bool) (int, error) {
	p := stubFile
	if dir {
		p = stubDir
	}
	fd, err := t.ensure(m.Target, p)
	if err != nil {
		if m.Optional && (errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EROFS)) {
			return -1, nil
		}
		return -1, err
	}
	is, err := isDir(fd)
	if err == nil {
		err = t.refuse(fd)
	}
	if err == nil && is != dir {
		err = unix.ENOTDIR
		if is {
			err = unix.EISDIR
		}
	}
	if err != nil {
		unix.Close(fd)
		if m.Optional {
			return -1, nil
		}
		return -1, err
	}
	return fd, nil
}

// refuse asks where a target really is: a link in the image can turn any name
// into one that would undo the protection of /proc and /sys.
func (t *tree) refuse(fd int) error {
	at, err := t.root.PathOf(fd)
	if err != nil {
		return err
	}
	if Reserved(at) {
		return fmt.Errorf("it leads to %s of the image, where nothing may be mounted", at)
	}
	return nil
}

// Reserved tells whether nothing may be mounted at a path, which must be clean.
func Reserved(at string) bool {
	return at == "/" || at == "/dev" || under(at, "/proc") || under(at, "/sys")
}

func under(at, dir string) bool {
	return at == dir || strings.HasPrefix(at, dir+"/")
}

// makeCwd makes the working directory when missing, for the user of the step.
// It is part of what the step leaves behind, as with any builder.
func (t *tree) makeCwd(cwd string) error {
	fd, err := t.ensure(cwd, ownDir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if dir, err := isDir(fd); err != nil || !dir {
		return unix.ENOTDIR
	}
	at, err := t.root.PathOf(fd)
	if err == nil && under(at, "/proc") {
		err = errInProc
	}
	return err
}
