package layer

import (
	"errors"
	"fmt"
	"maps"
	"os"

	"golang.org/x/sys/unix"
)

// sameFile tells whether a file of upper is what the lower trees show anyway:
// a program opened it for writing, or changed something and changed it back.
// Times are compared to the nanosecond, as a copy-up keeps them; so that a
// program that sets times itself does not hide a change, contents are compared
// as well.
func (d *differ) sameFile(f *frame, name string, st *unix.Stat_t, e Entry) (bool, error) {
	lst, at, err := f.low.lookup(name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st.Size != lst.Size || st.Mtim != lst.Mtim || st.Rdev != lst.Rdev {
		return false, nil
	}
	if same, err := sameMeta(e, lst, at); !same || err != nil {
		return false, err
	}
	switch e.Type {
	case Symlink:
		target, err := readlinkAt(at.fd, at.name)
		return target == e.Linkname, err
	case Regular:
		return compareContent(f.fd, name, at)
	}
	return true, nil
}

func compareContent(fd int, name string, at *lowerFile) (bool, error) {
	a, err := openRegular(fd, name)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := at.openFile()
	if err != nil {
		return false, err
	}
	defer b.Close()
	return sameContent(a, b)
}

// sameMeta compares type, mode, owner and attributes.
func sameMeta(e Entry, st *unix.Stat_t, at *lowerFile) (bool, error) {
	kinds := map[Type]uint32{
		Regular: unix.S_IFREG, Directory: unix.S_IFDIR, Symlink: unix.S_IFLNK,
		Char: unix.S_IFCHR, Block: unix.S_IFBLK, Fifo: unix.S_IFIFO,
	}
	if uint32(st.Mode) != kinds[e.Type]|e.Mode || int(st.Uid) != e.UID || int(st.Gid) != e.GID {
		return false, nil
	}
	xattrs, err := readXattrs(procPath(at.fd, at.name))
	return maps.Equal(xattrs, e.Xattrs), err
}

// wholeSeconds gives a file of upper the time its entry has.
func (d *differ) wholeSeconds(at int, name string, st *unix.Stat_t, always bool) error {
	if st.Mtim.Nsec == 0 && !always {
		return nil
	}
	t := st.Mtim
	t.Nsec = 0
	return unix.UtimesNanoAt(at, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func seconds(s int64) unix.Timespec { return unix.NsecToTimespec(s * 1e9) }

// PrepareUpper gives an empty upper directory the root that the lower trees,
// lowest first, show together. An overlay shows the root of its topmost tree,
// and most layers say nothing about theirs. It returns the lower trees that are
// to be mounted: overlayfs does not heed an opaque root, so what lies below one
// is left out.
func PrepareUpper(upper string, lowers []string, userXattr bool) ([]string, error) {
	fd, err := openDir(unix.AT_FDCWD, upper)
	if err != nil {
		return nil, &os.PathError{Op: "open upper directory", Path: upper, Err: err}
	}
	defer unix.Close(fd)
	low, err := openMerged(lowers, overlayXattr(userXattr, "opaque"))
	if err != nil {
		return nil, err
	}
	defer low.close()
	m, err := rootMeta(low)
	if err != nil {
		return nil, err
	}
	if err := m.applyFd(fd); err != nil {
		return nil, fmt.Errorf("root of %s: %w", upper, err)
	}
	return lowers[len(lowers)-len(low.fds):], futimens(fd, []unix.Timespec{m.mtime, m.mtime})
}

// rootMeta is what the topmost tree that describes its root says.
func rootMeta(low *merged) (*meta, error) {
	for _, fd := range low.fds {
		m, err := dirMeta(fd)
		if err != nil {
			return nil, err
		}
		if !m.implied() {
			return m, nil
		}
	}
	return &meta{mode: 0o755}, nil
}

func dirMeta(fd int) (*meta, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	return metaOf(&lowerFile{fd: fd, name: "."}, &st)
}

// implied tells whether these are the values Apply gives a root that the tar
// does not describe.
func (m *meta) implied() bool {
	return m.mode == 0o755 && m.uid == 0 && m.gid == 0 && m.mtime == unix.Timespec{} && len(m.xattrs) == 0
}

// rootChanged fills the root's entry and compares it, but for the time, with
// what PrepareUpper gave it.
func (d *differ) rootChanged(root *frame) (bool, error) {
	is, err := dirMeta(root.fd)
	if err != nil {
		return false, err
	}
	was, err := rootMeta(root.low)
	if err != nil {
		return false, err
	}
	root.e = Entry{
		Name: ".", Type: Directory, Mode: is.mode, UID: is.uid, GID: is.gid,
		ModTime: int64(is.mtime.Sec), Xattrs: is.xattrs,
	}
	same := is.mode == was.mode && is.uid == was.uid && is.gid == was.gid && maps.Equal(is.xattrs, was.xattrs)
	return !same, nil
}

// clearRoot makes the root one that the layer does not describe.
func clearRoot(fd int) error {
	m, err := dirMeta(fd)
	if err != nil {
		return err
	}
	for name := range m.xattrs {
		if err := unix.Fremovexattr(fd, name); err != nil {
			return fmt.Errorf("remove attribute %s: %w", quoteName(name), err)
		}
	}
	if err := (&meta{mode: 0o755}).applyFd(fd); err != nil {
		return err
	}
	return futimens(fd, []unix.Timespec{{}, {}})
}
