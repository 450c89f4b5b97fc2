package kept

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// walker finds places in a tree as a process does whose root it is, and makes
// what is missing on the way.
type walker struct {
	root  *inroot.Root
	own   bool // what is made belongs to uid and gid, and stays
	uid   int
	gid   int
	stubs []*stub
}

// spot is where something is to be put.
type spot struct {
	parent int // open
	base   string
	path   string // of the whole, relative to the root, free of links
	exists bool
}

func (t *Tree) walker() (*walker, error) {
	root, err := inroot.OpenRoot(t.Root(), "the image")
	if err != nil {
		return nil, err
	}
	return &walker{root: root}, nil
}

func (w *walker) close() { w.root.Close() }

// pathOf is the path of an open file, relative to the root and free of links.
func (w *walker) pathOf(fd int) (string, error) {
	at, err := w.root.PathOf(fd)
	if err != nil {
		return "", err
	}
	return path.Join(".", at[1:]), nil
}

// locate finds the place of something that is there, or where it is to be made.
// plain forbids that the last part of the name is a link.
func (w *walker) locate(name string, plain bool) (*spot, error) {
	s, err := w.find(name)
	if err != nil || !plain {
		return s, err
	}
	if "/"+s.path != path.Clean(name) {
		unix.Close(s.parent)
		return nil, fmt.Errorf("%s is a symbolic link: %w", name, ErrPlace)
	}
	return s, nil
}

func (w *walker) find(name string) (*spot, error) {
	p, err := w.root.Place(name, w.make)
	if err != nil {
		return nil, err
	}
	if p.FD >= 0 {
		defer unix.Close(p.FD)
		return w.spotOf(p.FD)
	}
	at, err := w.pathOf(p.Dir)
	if err != nil {
		unix.Close(p.Dir)
		return nil, err
	}
	return &spot{parent: p.Dir, base: p.Base, path: path.Join(at, p.Base)}, nil
}

// spotOf is the place of an open file.
func (w *walker) spotOf(fd int) (*spot, error) {
	at, err := w.pathOf(fd)
	if err != nil {
		return nil, err
	}
	if at == "." {
		return nil, errors.New("it leads to / of the image, where nothing may be mounted")
	}
	parent, err := w.root.Open(path.Dir(at), unix.O_PATH|unix.O_DIRECTORY, inroot.Plain)
	if err != nil {
		return nil, err
	}
	return &spot{parent: parent, base: path.Base(at), path: at, exists: true}, nil
}

// ensure makes a directory unless it is there.
func (w *walker) ensure(name string) error {
	p, err := w.root.Place(name, w.make)
	if err != nil {
		return err
	}
	fd := p.FD
	if fd < 0 {
		defer unix.Close(p.Dir)
		if fd, err = w.make(p.Dir, p.Base); err != nil {
			return err
		}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

// make makes a directory.
func (w *walker) make(dir int, base string) (int, error) {
	var err error
	if w.own {
		if err = unix.Mkdirat(dir, base, 0o755); err == nil {
			err = unix.Fchownat(dir, base, w.uid, w.gid, unix.AT_SYMLINK_NOFOLLOW)
		}
	} else {
		err = w.makeStub(dir, base)
	}
	if err != nil {
		return -1, err
	}
	return unix.Openat(dir, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// makeStub makes a directory that goes away again.
func (w *walker) makeStub(dir int, base string) error {
	parent, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	s := &stub{parent: parent, base: base}
	var made node
	err = keepTimes(parent, func() error { return unix.Mkdirat(parent, base, 0o755) })
	if err == nil {
		err = made.look(parent, base)
	}
	if err != nil {
		unix.Close(parent)
		return err
	}
	s.was = made.inode()
	w.stubs = append(w.stubs, s)
	return nil
}
