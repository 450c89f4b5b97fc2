package tree

import (
	"fmt"
	"maps"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// PrepareUpper gives an empty upper directory the root that the lower trees,
// lowest first, show together. An overlay shows the root of its topmost tree,
// and most layers say nothing about theirs. It returns the lower trees that are
// to be mounted: overlayfs does not heed an opaque root, so what lies below one
// is left out.
func PrepareUpper(upper string, lowers []string, f Form) ([]string, error) {
	fd, err := openDir(unix.AT_FDCWD, upper)
	if err != nil {
		return nil, &os.PathError{Op: "open upper directory", Path: upper, Err: err}
	}
	defer unix.Close(fd)
	low, err := openMerged(lowers, f)
	if err != nil {
		return nil, err
	}
	defer low.close()
	m, err := rootMeta(low)
	if err != nil {
		return nil, err
	}
	if err := m.applyFd(fd, f); err != nil {
		return nil, fmt.Errorf("root of %s: %w", upper, err)
	}
	return lowers[len(lowers)-len(low.fds):], futimens(fd, []unix.Timespec{m.mtime, m.mtime})
}

// rootMeta is what the topmost tree that describes its root says.
func rootMeta(low *merged) (*meta, error) {
	for _, fd := range low.fds {
		m, err := low.form.dirMeta(fd)
		if err != nil {
			return nil, err
		}
		if !m.implied() {
			return m, nil
		}
	}
	return &meta{mode: 0o755}, nil
}

// dirMeta is the metadata of the open directory fd.
func (f Form) dirMeta(fd int) (*meta, error) {
	st, err := statAt(fd, ".")
	if err != nil {
		return nil, err
	}
	e, err := f.entry(fd, ".", st)
	return statMeta(&e, st), err
}

// implied tells whether this is the root of a layer that does not describe it.
func (m *meta) implied() bool { return m.mtime == unstated }

// rootChanged fills the root's entry and compares it with what PrepareUpper gave
// it.
func (d *differ) rootChanged(root *frame) (bool, error) {
	is, err := d.o.Form.dirMeta(root.fd)
	if err != nil {
		return false, err
	}
	was, err := rootMeta(root.low)
	if err != nil {
		return false, err
	}
	root.e = layer.Entry{
		Name: ".", Type: layer.Directory, Mode: is.mode, UID: is.uid, GID: is.gid,
		ModTime: int64(is.mtime.Sec), Xattrs: is.xattrs,
	}
	same := is.mode == was.mode && is.uid == was.uid && is.gid == was.gid && maps.Equal(is.xattrs, was.xattrs)
	return !same || d.timeGiven(is.mtime, was.mtime), nil
}

// clearRoot makes the root one that the layer does not describe.
func (f Form) clearRoot(fd int) error {
	m, err := f.dirMeta(fd)
	if err != nil {
		return err
	}
	for name := range m.xattrs {
		if err := unix.Fremovexattr(fd, name); err != nil {
			return fmt.Errorf("remove attribute %q: %w", name, err)
		}
	}
	if err := (&meta{mode: 0o755}).applyFd(fd, f); err != nil {
		return err
	}
	return futimens(fd, []unix.Timespec{unstated, unstated})
}
