package tree

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// Lay moves what Apply, with Hide, has unpacked into dir over the layers that
// onto holds already, and leaves of dir no more than empty directories. hidden is
// what Hide was told. onto then holds what a [layer.View] of all of them shows,
// with nothing in it that concerns overlayfs.
//
// Both must be in one file system and of the form f, and nobody else may use them.
func Lay(dir, onto string, hidden []Hidden, f Form) error {
	from, err := openDir(unix.AT_FDCWD, dir)
	if err != nil {
		return &os.PathError{Op: "open layer", Path: dir, Err: err}
	}
	defer unix.Close(from)
	to, err := openDir(unix.AT_FDCWD, onto)
	if err != nil {
		return &os.PathError{Op: "open tree", Path: onto, Err: err}
	}
	defer unix.Close(to)
	m, err := f.laidRoot(from, to, hidden) // before anything is moved, which changes its time
	if err != nil {
		return err
	}
	for _, h := range hidden {
		if err := removeHidden(to, h); err != nil {
			return fmt.Errorf("remove %q, which the layer hides: %w", h.Name, err)
		}
	}
	if err := f.layChildren(from, to, "."); err != nil {
		return fmt.Errorf("lay a layer over %s: %w", onto, err)
	}
	return m.replaceFd(to, f)
}

// laidRoot is what the root will be like: as the layer says, or else as it was.
func (f Form) laidRoot(from, to int, hidden []Hidden) (*meta, error) {
	m, err := f.dirMeta(from)
	if err != nil || !m.implied() {
		return m, err
	}
	if slices.Contains(hidden, Hidden{Name: ".", Inside: true}) {
		return &meta{mode: 0o755}, nil
	}
	return f.dirMeta(to)
}

// removeHidden removes what a layer hides. Where the way there leads through a
// link or a file, nothing is hidden.
func removeHidden(root int, h Hidden) error {
	parent, err := OpenDir(root, path.Dir(h.Name))
	if err == nil {
		defer unix.Close(parent)
	}
	if err == nil && !h.Inside {
		return removeAt(parent, path.Base(h.Name))
	}
	var fd int
	if err == nil {
		fd, err = openDir(parent, path.Base(h.Name))
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	names, err := sortedNames(fd)
	for _, n := range names {
		err = errors.Join(err, removeAt(fd, n))
	}
	return err
}

// OpenDir opens a directory, as a place to name files in, by its path in the open
// directory root. The path may be of any length and leads through no link.
func OpenDir(root int, name string) (int, error) {
	at := root
	for {
		part := name
		if len(part) > maxPath {
			part = part[:strings.LastIndexByte(part[:maxPath], '/')]
		}
		fd, err := openBeneath(at, part)
		if at != root {
			unix.Close(at)
		}
		if err != nil || part == name {
			return fd, err
		}
		at, name = fd, name[len(part)+1:]
	}
}

// layChildren moves all that is in one directory into another.
func (f Form) layChildren(from, to int, dir string) error {
	names, err := sortedNames(from)
	if err != nil {
		return fmt.Errorf("%q: %w", dir, err)
	}
	for _, name := range names {
		if err := f.layOne(from, to, dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (f Form) layOne(from, to int, dir, name string) error {
	at := path.Join(dir, name)
	st, err := statAt(from, name)
	if err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	below, err := statAt(to, name)
	switch {
	case errors.Is(err, unix.ENOENT):
		err = nil
	case err != nil:
	case isDir(st) && isDir(below):
		return f.layDirectory(from, to, dir, name)
	case isDir(st) || isDir(below): // else renaming replaces it
		err = removeAt(to, name)
	}
	if err == nil {
		err = unix.Renameat(from, name, to, name)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	return nil
}

// layDirectory lays a directory over one that is there: the metadata is its own.
func (f Form) layDirectory(from, to int, dir, name string) error {
	at := path.Join(dir, name)
	upper, err := openDir(from, name)
	if err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	defer unix.Close(upper)
	lower, err := openDir(to, name)
	if err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	defer unix.Close(lower)
	m, err := f.dirMeta(upper) // moving what is in it changes its time
	if err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	if err := f.layChildren(upper, lower, at); err != nil {
		return err
	}
	if err := m.replaceFd(lower, f); err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	return nil
}

// replaceFd gives an open directory this metadata in place of its own.
func (m *meta) replaceFd(fd int, f Form) error {
	was, err := f.dirMeta(fd)
	if err != nil {
		return err
	}
	for key := range was.xattrs {
		if _, kept := m.xattrs[key]; kept {
			continue
		}
		if err := unix.Fremovexattr(fd, key); err != nil {
			return fmt.Errorf("remove attribute %q: %w", key, err)
		}
	}
	if err := m.applyFd(fd, f); err != nil {
		return err
	}
	return futimens(fd, []unix.Timespec{m.mtime, m.mtime})
}

// Describe describes the file name in the open directory at, of a tree that Lay
// has made, all but its place in the tree. A socket, which no layer holds, has
// no type.
func (f Form) Describe(at int, name string, st *unix.Stat_t) (layer.Entry, error) {
	return f.entry(at, name, st)
}

// SetOwner gives an open file or directory to the owner of an entry.
func (f Form) SetOwner(fd int, e *layer.Entry) error {
	m := &meta{uid: e.UID, gid: e.GID, device: deviceOf(e)}
	return m.own(f, procPath(fd, ""), true, func() error { return unix.Fchown(fd, m.uid, m.gid) })
}
