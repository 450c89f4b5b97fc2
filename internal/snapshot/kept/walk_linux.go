package kept

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// walker finds places in a tree as a process does whose root it is, and makes
// what is missing on the way.
type walker struct {
	root   int
	prefix string // how the kernel spells the root
	own    bool   // what is made belongs to uid and gid, and stays
	uid    int
	gid    int
	stubs  []*stub
}

// spot is where something is to be put.
type spot struct {
	parent int // open
	base   string
	path   string // of the whole, relative to the root, free of links
	exists bool
}

func (t *Tree) walker() (*walker, error) {
	fd, err := unix.Open(t.Root(), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: t.Root(), Err: err}
	}
	w := &walker{root: fd}
	if w.prefix, err = readlink(unix.AT_FDCWD, fdPath(fd)); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return w, nil
}

func (w *walker) close() { unix.Close(w.root) }

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// open opens a path with symbolic links meant as inside the root.
func (w *walker) open(name string) (int, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(w.root, name, how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// pathOf is the path of an open file, relative to the root and free of links.
func (w *walker) pathOf(fd int) (string, error) {
	full, err := readlink(unix.AT_FDCWD, fdPath(fd))
	if err != nil {
		return "", err
	}
	inside, ok := strings.CutPrefix(full, w.prefix)
	if !ok || inside != "" && inside[0] != '/' {
		return "", fmt.Errorf("%s is outside of %s", full, w.prefix)
	}
	return path.Join(".", inside), nil
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

const maxLinks = 255

// locate finds the place of something that is there, or where it is to be made.
// plain forbids that the last part of the name is a link.
func (w *walker) locate(name string, plain bool) (*spot, error) {
	s, err := w.find(name, 0)
	if err != nil || !plain {
		return s, err
	}
	if "/"+s.path != path.Clean(name) {
		unix.Close(s.parent)
		return nil, fmt.Errorf("%s is a symbolic link: %w", name, ErrPlace)
	}
	return s, nil
}

func (w *walker) find(name string, depth int) (*spot, error) {
	if depth > maxLinks {
		return nil, unix.ELOOP
	}
	fd, err := w.open(name)
	if err == nil {
		defer unix.Close(fd)
		return w.spotOf(fd)
	}
	if !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	dir, base := split(name)
	parent, err := w.ensure(dir, depth+1)
	if err != nil {
		return nil, err
	}
	at, err := w.pathOf(parent)
	if err != nil {
		unix.Close(parent)
		return nil, err
	}
	link, err := readlink(parent, base)
	if err != nil && base != "." && base != ".." {
		return &spot{parent: parent, base: base, path: path.Join(at, base)}, nil
	}
	unix.Close(parent)
	switch {
	case err != nil:
		return w.find(name, depth+1) // what it leads through exists now
	case strings.HasPrefix(link, "/"): // to something missing: what it means is made
		return w.find(link, depth+1)
	}
	return w.find("/"+at+"/"+link, depth+1)
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
	parent, err := w.open(path.Dir(at))
	if err != nil {
		return nil, err
	}
	return &spot{parent: parent, base: path.Base(at), path: at, exists: true}, nil
}

// split does not clean: ".." after a symbolic link must stay where it is.
func split(name string) (dir, base string) {
	name = strings.TrimRight(name, "/")
	i := strings.LastIndexByte(name, '/')
	if i <= 0 {
		return "/", name[i+1:]
	}
	return name[:i], name[i+1:]
}

// ensure opens a directory and makes it when it is missing.
func (w *walker) ensure(name string, depth int) (int, error) {
	fd, err := w.open(name)
	if err == nil {
		return w.directory(fd)
	}
	if !errors.Is(err, unix.ENOENT) {
		return -1, err
	}
	s, err := w.find(name, depth)
	if err != nil {
		return -1, err
	}
	if s.exists { // made on the way, by a path like a/../a
		unix.Close(s.parent)
		return w.ensure(name, depth+1)
	}
	return w.make(s)
}

func (w *walker) directory(fd int) (int, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// make makes a directory, and takes the place over.
func (w *walker) make(s *spot) (int, error) {
	if w.own {
		defer unix.Close(s.parent)
		err := unix.Mkdirat(s.parent, s.base, 0o755)
		if err == nil {
			err = unix.Fchownat(s.parent, s.base, w.uid, w.gid, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil {
			return -1, err
		}
		return unix.Openat(s.parent, s.base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	b := &stub{parent: s.parent, base: s.base}
	var made node
	err := keepTimes(s.parent, func() error { return unix.Mkdirat(s.parent, s.base, 0o755) })
	if err == nil {
		err = made.look(s.parent, s.base)
	}
	if err != nil {
		unix.Close(s.parent)
		return -1, err
	}
	b.was = made.inode()
	w.stubs = append(w.stubs, b)
	return unix.Openat(s.parent, s.base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}
