package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	paxXattr = "SCHILY.xattr."
	// maxID is the largest owner; the one above it means "leave as it is".
	maxID = 1<<32 - 2
)

// meta is what a file has beside name, type and content.
type meta struct {
	mode     uint32
	uid, gid int
	mtime    unix.Timespec
	xattrs   map[string]string
}

func newMeta(h *tar.Header) (*meta, error) {
	if h.Uid < 0 || h.Uid > maxID || h.Gid < 0 || h.Gid > maxID {
		return nil, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	m := &meta{mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid, mtime: timespec(h.ModTime)}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, paxXattr); ok && keepXattr(name) {
			if m.xattrs == nil {
				m.xattrs = map[string]string{}
			}
			m.xattrs[name] = value
		}
	}
	return m, nil
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
func (m *meta) applyFd(fd int) error {
	// Owner before mode: chown clears the setuid bit; and before attributes: it
	// clears file capabilities.
	if err := unix.Fchown(fd, m.uid, m.gid); err != nil {
		return m.ownerError(err)
	}
	if err := unix.Fchmod(fd, m.mode); err != nil {
		return fmt.Errorf("set mode %04o: %w", m.mode, err)
	}
	for name, value := range m.xattrs {
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err := xattrError(name, err); err != nil {
			return err
		}
	}
	return nil
}

// applyAt sets everything but the mode of a symbolic link on a file that is
// not opened: links, devices and pipes.
func (m *meta) applyAt(at int, name string, link bool) error {
	if err := unix.Fchownat(at, name, m.uid, m.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return m.ownerError(err)
	}
	if !link {
		// The file was made just now in a directory nobody else writes to, and
		// is no link, so that following links here follows none.
		if err := unix.Fchmodat(at, name, m.mode, 0); err != nil {
			return fmt.Errorf("set mode %04o: %w", m.mode, err)
		}
	}
	for key, value := range m.xattrs {
		err := unix.Lsetxattr(procPath(at, name), key, []byte(value), 0)
		if err := xattrError(key, err); err != nil {
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

// keepXattr tells whether an extended attribute is part of an image: those of
// overlayfs would make it show other files than the layer's, and labels of
// security modules are the policy of one machine.
func keepXattr(name string) bool {
	switch {
	case isOverlayXattr(name):
		return false
	case name == "security.selinux", name == "security.ima", name == "security.evm":
		return false
	}
	return true
}

func overlayXattr(user bool, name string) string {
	if user {
		return "user.overlay." + name
	}
	return "trusted.overlay." + name
}

// xattrError decides what a failure to set an attribute means. Capabilities
// change what a program may do and must not get lost; user.* and trusted.* are
// notes that many file systems and namespaces cannot hold.
func xattrError(name string, err error) error {
	if err == nil {
		return nil
	}
	best := strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.")
	unsupported := errors.Is(err, unix.ENOTSUP) && !strings.HasPrefix(name, "security.")
	if unsupported || (best && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC))) {
		return nil
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set attribute %s: not permitted without root or a user namespace: %w", quoteName(name), err)
	}
	return fmt.Errorf("set attribute %s: %w", quoteName(name), err)
}

// readXattrs returns the attributes of a file that belong to an image.
func readXattrs(path string) (map[string]string, error) {
	names, err := xattrBytes(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var all map[string]string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !keepXattr(name) {
			continue
		}
		value, err := xattrBytes(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
		if err != nil {
			return nil, fmt.Errorf("read attribute %s: %w", quoteName(name), err)
		}
		if all == nil {
			all = map[string]string{}
		}
		all[name] = string(value)
	}
	return all, nil
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

// metaOf reads the metadata of the file at.
func metaOf(at *lowerFile, st *unix.Stat_t) (*meta, error) {
	xattrs, err := readXattrs(procPath(at.fd, at.name))
	if err != nil {
		return nil, err
	}
	return &meta{
		mode: uint32(st.Mode) & 0o7777, uid: int(st.Uid), gid: int(st.Gid),
		mtime: st.Mtim, xattrs: xattrs,
	}, nil
}
