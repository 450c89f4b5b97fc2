package tree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// merged is one directory as lower trees show it together, found as overlayfs
// finds it: by name in each of them, from the top. Nothing is ever followed.
type merged struct {
	form Form
	fds  []int // of the directory in those trees that have it, topmost first
}

// openMerged opens the roots of lower trees, given lowest first.
func openMerged(trees []string, form Form) (*merged, error) {
	m := &merged{form: form}
	for i := len(trees) - 1; i >= 0; i-- {
		fd, err := openDir(unix.AT_FDCWD, trees[i])
		if err != nil {
			m.close()
			return nil, &os.PathError{Op: "open lower tree", Path: trees[i], Err: err}
		}
		m.fds = append(m.fds, fd)
		if form.isOpaque(procPath(fd, "")) {
			break
		}
	}
	return m, nil
}

func (m *merged) close() {
	for _, fd := range m.fds {
		unix.Close(fd)
	}
	m.fds = nil
}

// isOpaque reads overlayfs's mark; path may be a magic link to a descriptor.
func (f Form) isOpaque(path string) bool {
	var v [2]byte
	n, err := unix.Getxattr(path, f.opaque(), v[:])
	return err == nil && n == 1 && v[0] == 'y'
}

// lowerFile is where a file lies: a name in an open directory.
type lowerFile struct {
	fd   int
	name string
	dir  *merged // closed by release; nil when fd is another's
}

func (f *lowerFile) release() {
	if f.dir != nil {
		f.dir.close()
	}
}

func (f *lowerFile) openFile() (*os.File, error) { return openRegular(f.fd, f.name) }

// openRegular opens a regular file for reading. Nothing else is ever opened: a
// pipe would block and a device act.
func openRegular(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("is no regular file")
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// lookup finds a name in the directory; ENOENT when no tree shows it.
func (m *merged) lookup(name string) (*unix.Stat_t, *lowerFile, error) {
	for _, fd := range m.fds {
		st, err := statAt(fd, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil && isWhiteout(st) {
			break
		}
		return st, &lowerFile{fd: fd, name: name}, err
	}
	return nil, nil, unix.ENOENT
}

// child opens the directory name inside this one; it is empty when the trees
// show no such directory.
func (m *merged) child(name string) (*merged, error) {
	c := &merged{form: m.form}
	for _, fd := range m.fds {
		st, err := statAt(fd, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil && !isDir(st) {
			break // a whiteout, or a file that hides what is below it
		}
		var sub int
		if err == nil {
			sub, err = openDir(fd, name)
		}
		if err != nil {
			c.close()
			return nil, err
		}
		c.fds = append(c.fds, sub)
		if m.form.isOpaque(procPath(sub, "")) {
			break
		}
	}
	return c, nil
}

// under returns the same directory with another tree on top.
func (m *merged) under(top int) (*merged, error) {
	all := &merged{form: m.form, fds: append([]int{top}, m.fds...)}
	return all.child(".")
}

// descend opens the directory with that path. The caller closes it.
func (m *merged) descend(path string) (*merged, error) {
	dir, err := m.child(".")
	for part := range strings.SplitSeq(path, "/") {
		if err != nil || path == "." {
			break
		}
		above := dir
		dir, err = above.child(part)
		above.close()
	}
	return dir, err
}

// find looks up a path. The caller releases the file.
func (m *merged) find(name string) (*unix.Stat_t, *lowerFile, error) {
	dir, err := m.descend(path.Dir(name))
	if err != nil {
		return nil, nil, err
	}
	st, at, err := dir.lookup(path.Base(name))
	if err != nil {
		dir.close()
		return nil, nil, err
	}
	at.dir = dir
	return st, at, nil
}

// Lookup tells layer.Resolve where symbolic links are.
func (m *merged) Lookup(_ context.Context, name string) (layer.Entry, error) {
	st, at, err := m.find(name)
	if errors.Is(err, unix.ENOENT) {
		return layer.Entry{}, fs.ErrNotExist
	}
	if err != nil {
		return layer.Entry{}, err
	}
	defer at.release()
	return m.form.entry(at.fd, at.name, st)
}

// shows tells whether anything is visible in the directory.
func (m *merged) shows() (bool, error) {
	for _, fd := range m.fds {
		names, err := sortedNames(fd)
		if err != nil {
			return false, err
		}
		for _, name := range names {
			_, _, err := m.lookup(name)
			if !errors.Is(err, unix.ENOENT) {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// sameContent compares two files of equal size.
func sameContent(a, b io.Reader) (bool, error) {
	var x, y [32 << 10]byte
	for {
		n, err := io.ReadFull(a, x[:])
		k, err2 := io.ReadFull(b, y[:])
		if string(x[:n]) != string(y[:k]) {
			return false, nil
		}
		if n < len(x) {
			return true, errors.Join(notEOF(err), notEOF(err2))
		}
	}
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
