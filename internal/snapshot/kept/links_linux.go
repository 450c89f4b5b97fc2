package kept

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// group is the names of one file that the layer says are one.
type group struct {
	names []string // as they were written
	old   bool     // one of them is a name that was there before
}

// linkedAnew tells whether an unchanged file has got more names in the tree, and
// this one is to be written beside them. An overlay copies the one name that the
// link was made from and tears it away from the file's other ones. Which one that
// was cannot be seen here: it is taken for the first.
func (d *differ) linkedAnew(was, is *node) bool {
	i := is.inode()
	if is.kind() != unix.S_IFREG || d.names[i] < 2 {
		return false
	}
	if was.inode() != i { // an equal file in its place
		return true
	}
	if d.joined[i] || d.names[i] <= max(d.shared[i], 1) {
		return false
	}
	d.joined[i] = true
	return true
}

// link decides whether a changed regular file is written as a hard link, and to
// which name. It is written as an overlay would have it, which tears a file that
// was there away from its other names when it is changed: so of a file that had
// several names, each is one of its own now.
func (d *differ) link(name string, was, is *node) (first string) {
	if is.links < 2 {
		return ""
	}
	old := was != nil && was.inode() == is.inode() && d.shared[is.inode()] > 1
	g := d.groups[is.inode()]
	switch {
	case g == nil:
		d.groups[is.inode()] = &group{names: []string{name}, old: old}
		return ""
	case old && g.old:
		d.alone = append(d.alone, name)
		return ""
	}
	g.names, g.old = append(g.names, name), g.old || old
	return g.names[0]
}

// separate makes the tree have the hard links that the layer says it has. What
// the layer writes as a file of its own must not change when another name is
// written to: one of a lower layer, or one in a cache mount. It tells whether
// something had to be done.
func (d *differ) separate(root *frame) (done bool, err error) {
	s := &separator{root: root.fd, dir: d.t.dir, form: d.t.m.form}
	for _, name := range d.alone {
		if err := s.copy(name); err != nil {
			return false, fmt.Errorf("%q: %w", name, err)
		}
		done = true
	}
	for _, g := range d.groups {
		alone, err := s.alone(g)
		if alone || err != nil {
			if err != nil {
				return false, fmt.Errorf("%q: %w", g.names[0], err)
			}
			continue
		}
		done = true
		if err := s.copy(g.names[0]); err != nil {
			return false, fmt.Errorf("%q: %w", g.names[0], err)
		}
		for _, name := range g.names[1:] {
			if err := s.link(g.names[0], name); err != nil {
				return false, fmt.Errorf("%q: %w", name, err)
			}
		}
	}
	return done, nil
}

// separator changes names in a tree.
type separator struct {
	root int
	dir  string // where files are made
	form tree.Form
}

// alone tells whether a file has no other names than those of the group.
func (s *separator) alone(g *group) (bool, error) {
	at, err := tree.OpenDir(s.root, path.Dir(g.names[0]))
	if err != nil {
		return false, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	err = unix.Fstatat(at, path.Base(g.names[0]), &st, unix.AT_SYMLINK_NOFOLLOW)
	return uint64(st.Nlink) == uint64(len(g.names)), err
}

// copy puts a copy of a file in its place.
func (s *separator) copy(name string) error {
	return s.replace(name, func(at int, base, to string) error {
		in, err := openRegular(at, base)
		if err != nil {
			return err
		}
		defer in.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(in.Fd()), &st); err != nil {
			return err
		}
		e, err := s.form.Describe(at, base, &st)
		if err != nil {
			return err
		}
		return s.copyFile(in, to, e, &st)
	})
}

// copyFile writes a new file like another one.
func (s *separator) copyFile(in io.Reader, to string, e layer.Entry, st *unix.Stat_t) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	fd := int(out.Fd())
	if err == nil {
		err = s.form.SetOwner(fd, &e) // before the mode and the attributes, which it would clear
	}
	if err == nil {
		err = unix.Fchmod(fd, e.Mode)
	}
	for key, value := range e.Xattrs {
		if err == nil {
			err = unix.Fsetxattr(fd, key, []byte(value), 0)
		}
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return unix.UtimesNano(to, []unix.Timespec{st.Atim, st.Mtim})
}

// link makes name another name of the file first.
func (s *separator) link(first, name string) error {
	from, err := tree.OpenDir(s.root, path.Dir(first))
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return s.replace(name, func(_ int, _, to string) error {
		return unix.Linkat(from, path.Base(first), unix.AT_FDCWD, to, 0)
	})
}

// replace puts what make makes at to in the place of a name. The directory keeps
// its time.
func (s *separator) replace(name string, make func(at int, base, to string) error) error {
	at, err := tree.OpenDir(s.root, path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(at)
	to := filepath.Join(s.dir, "new")
	if err := make(at, path.Base(name), to); err != nil {
		return err
	}
	return keepTimes(at, func() error { return unix.Renameat(unix.AT_FDCWD, to, at, path.Base(name)) })
}

// keepTimes does something in a directory that does not show in its times.
func keepTimes(dir int, do func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, ".", []unix.Timespec{st.Atim, st.Mtim}, 0)
}
