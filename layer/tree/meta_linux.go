package tree

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
	"github.com/ocibuild/ocibuild/layer"
)

// meta is what a file has beside name, type and content.
type meta struct {
	mode     uint32
	uid, gid int
	mtime    unix.Timespec
	xattrs   map[string]string
	device   owner.Owner // without the owner; zero for all but devices
}

func newMeta(e *layer.Entry, mtime time.Time) *meta {
	return &meta{mode: e.Mode, uid: e.UID, gid: e.GID, mtime: timespec(mtime), xattrs: e.Xattrs, device: deviceOf(e)}
}

// statMeta is the metadata of the file that e describes, with its exact time.
func statMeta(e *layer.Entry, st *unix.Stat_t) *meta {
	return &meta{mode: e.Mode, uid: e.UID, gid: e.GID, mtime: st.Mtim, xattrs: e.Xattrs, device: deviceOf(e)}
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{}
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil { // beyond what this machine can say
		return unix.Timespec{}
	}
	return ts
}

// applyFd sets everything but the times on an open file or directory.
func (m *meta) applyFd(fd int, f Form) error {
	// Owner before mode: chown clears the setuid bit; and before attributes: it
	// clears file capabilities.
	if err := m.own(f, procPath(fd, ""), true, func() error { return unix.Fchown(fd, m.uid, m.gid) }); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, m.mode); err != nil {
		return fmt.Errorf("set mode %04o: %w", m.mode, err)
	}
	for name, value := range m.xattrs {
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err := xattrError(name, err, f); err != nil {
			return err
		}
	}
	return nil
}

// applyAt sets everything but the mode of a symbolic link on a file that is
// not opened: links, devices and pipes.
func (m *meta) applyAt(at int, name string, link bool, f Form) error {
	err := m.own(f, procPath(at, name), false, func() error {
		return unix.Fchownat(at, name, m.uid, m.gid, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return err
	}
	if !link {
		// The file was made just now in a directory nobody else writes to, and
		// is no link, so that following links here follows none.
		if err := unix.Fchmodat(at, name, m.mode, 0); err != nil {
			return fmt.Errorf("set mode %04o: %w", m.mode, err)
		}
	}
	for key, value := range m.xattrs {
		if f == Owned && key == owner.Capability {
			continue // means nothing here, and the owner stands there
		}
		err := unix.Lsetxattr(procPath(at, name), key, []byte(value), 0)
		if err := xattrError(key, err, f); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(at, name, []unix.Timespec{m.mtime, m.mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

func (m *meta) ownerError(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("set owner %d:%d: the user namespace does not map these ids (/etc/subuid and /etc/subgid give a range that is too small): %w", m.uid, m.gid, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("set owner %d:%d: not permitted without root or a user namespace: %w", m.uid, m.gid, err)
	}
	return fmt.Errorf("set owner %d:%d: %w", m.uid, m.gid, err)
}

// opaque is the attribute of a directory that hides what is below it.
func (f Form) opaque() string {
	if f == Trusted {
		return "trusted.overlay.opaque"
	}
	return "user.overlay.opaque"
}

// xattrError decides what a failure to set an attribute means. user.* and trusted.*
// are notes that many file systems and namespaces cannot hold. Capabilities change
// what a program may do and must not get lost, but where a file system keeps none: a
// file that a step leaves alone has them in its layer still. An access control
// list that names users has no meaning where there is one id, and every step has
// root's rights.
func xattrError(name string, err error, f Form) error {
	if err == nil || f == Owned && strings.HasPrefix(name, "system.posix_acl_") && errors.Is(err, unix.EINVAL) {
		return nil
	}
	best := strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.")
	unsupported := errors.Is(err, unix.ENOTSUP)
	if unsupported || (best && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL))) {
		return nil
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set attribute %q: not permitted without root or a user namespace: %w", name, err)
	}
	return fmt.Errorf("set attribute %q: %w", name, err)
}

// readXattrs fills in the attributes of a file that belong to an image, and what
// others say of it.
func (f Form) readXattrs(path string, e *layer.Entry) error {
	names, err := xattrBytes(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if err != nil || len(names) == 0 {
		return err
	}
	if f == Owned {
		if err := readOwner(path, e); err != nil {
			return err
		}
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !layer.KeepXattr(name) {
			continue
		}
		value, err := xattrBytes(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
		if err != nil {
			return fmt.Errorf("read attribute %q: %w", name, err)
		}
		if f == Owned && name == owner.Capability && isOwner(value) {
			continue
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = string(value)
	}
	return nil
}

func xattrBytes(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	n, err := read(small[:])
	if err == nil {
		return append([]byte(nil), small[:n]...), nil
	}
	switch {
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENODATA):
		return nil, nil
	case !errors.Is(err, unix.ERANGE):
		return nil, err
	}
	big := make([]byte, 64<<10) // the kernel's limit on one value and on the list
	n, err = read(big)
	return big[:max(n, 0)], err
}
