package tree

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

const (
	maxCachedDirs = 256
	// maxPath is the longest name given to the kernel at once; deeper
	// directories are reached from their parent.
	maxPath = 3500
)

// dirHandle is an O_PATH descriptor of a directory. It is shared by the cache
// and by writers and closed by the last of them.
type dirHandle struct {
	fd   int
	name string // the real one
	ino  uint64
	refs atomic.Int32
}

func newDirHandle(fd int, name string) (*dirHandle, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	h := &dirHandle{fd: fd, name: name, ino: st.Ino}
	h.refs.Store(1)
	return h, nil
}

// child is the real name of what is called base in the directory.
func (h *dirHandle) child(base string) string {
	if h.name == "." {
		return base
	}
	return h.name + "/" + base
}

func (h *dirHandle) hold() *dirHandle { h.refs.Add(1); return h }

func (h *dirHandle) release() {
	if h.refs.Add(-1) == 0 {
		unix.Close(h.fd)
	}
}

// dirCache keeps the directories used last open, by the name an entry gives
// them, so that most entries cost no path walk.
type dirCache struct {
	a      *applier
	byName map[string]*list.Element
	order  *list.List // of *cachedDir, the one used last in front
}

type cachedDir struct {
	name string
	h    *dirHandle
}

func newDirCache(a *applier) *dirCache {
	return &dirCache{a: a, byName: map[string]*list.Element{}, order: list.New()}
}

// get returns the directory that name leads to, and makes what is missing of it.
func (c *dirCache) get(name string) (*dirHandle, error) {
	h, err := c.open(name)
	switch {
	case errors.Is(err, unix.ELOOP):
		var real string
		if real, err = c.resolve(name); err != nil {
			return nil, err
		}
		if real == name {
			return nil, fmt.Errorf("directory %q: %w", name, unix.ENOTDIR) // a borrowed link
		}
		if h, err = c.get(real); err == nil {
			c.keep(name, h)
		}
		return h, err
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		h, err = c.make(name)
	}
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", name, err)
	}
	return h, nil
}

// find returns the directory that name leads to if it exists.
func (c *dirCache) find(name string) (*dirHandle, error) {
	h, err := c.open(name)
	if !errors.Is(err, unix.ELOOP) {
		return h, err
	}
	real, err := c.resolve(name)
	if err != nil {
		return nil, err
	}
	if h, err = c.open(real); err == nil {
		c.keep(name, h)
	}
	return h, err
}

// resolve follows the symbolic links of this layer in name.
func (c *dirCache) resolve(name string) (string, error) {
	o := &ownLinks{c: c, fd: -1}
	defer o.close()
	return layer.Resolve(c.a.ctx, o, name, true)
}

// ownLinks shows layer.Resolve the symbolic links of this layer. The directory
// looked into last stays open: Resolve goes down a path step by step.
type ownLinks struct {
	c  *dirCache
	at string // the directory that fd is open on
	fd int    // -1 before the first
}

func (o *ownLinks) Lookup(_ context.Context, name string) (layer.Entry, error) {
	if o.c.a.borrowed[name] {
		return layer.Entry{}, fs.ErrNotExist
	}
	dir, base := path.Dir(name), path.Base(name)
	err := o.enter(dir)
	var st *unix.Stat_t
	if err == nil {
		st, err = statAt(o.fd, base)
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return layer.Entry{}, fs.ErrNotExist
	case err != nil:
		return layer.Entry{}, err
	case !isLink(st):
		return layer.Entry{Name: name}, nil
	}
	to, err := readlinkAt(o.fd, base)
	return layer.Entry{Name: name, Type: layer.Symlink, Linkname: to}, err
}

// enter opens the directory dir, which has no link in its name.
func (o *ownLinks) enter(dir string) error {
	var fd int
	var err error
	switch {
	case o.fd >= 0 && dir == o.at:
		return nil
	case o.fd >= 0 && path.Dir(dir) == o.at:
		fd, err = openBeneath(o.fd, path.Base(dir))
	default:
		fd, err = o.c.openFd(dir)
	}
	if err != nil {
		return err
	}
	o.close()
	o.at, o.fd = dir, fd
	return nil
}

func (o *ownLinks) close() {
	if o.fd >= 0 {
		unix.Close(o.fd)
	}
}

// open returns the directory with that name if it exists; ELOOP tells that the
// name leads through a symbolic link.
func (c *dirCache) open(name string) (*dirHandle, error) {
	if el, ok := c.byName[name]; ok {
		c.order.MoveToFront(el)
		return el.Value.(*cachedDir).h.hold(), nil
	}
	fd, err := c.openFd(name)
	if err != nil {
		return nil, err
	}
	h, err := newDirHandle(fd, name)
	if err != nil {
		return nil, err
	}
	c.keep(name, h)
	return h, nil
}

func (c *dirCache) keep(name string, h *dirHandle) {
	c.byName[name] = c.order.PushFront(&cachedDir{name: name, h: h.hold()})
	if c.order.Len() > maxCachedDirs {
		c.drop(c.order.Back())
	}
}

func (c *dirCache) openFd(name string) (int, error) {
	at, base := c.a.root, name
	if len(name) > maxPath {
		parent, err := c.open(path.Dir(name))
		if err != nil {
			return -1, err
		}
		defer parent.release()
		at, base = parent.fd, path.Base(name)
	}
	return openBeneath(at, base)
}

// make makes the directory name, and what is missing above it.
func (c *dirCache) make(name string) (*dirHandle, error) {
	parent, err := c.open(path.Dir(name))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		parent, err = c.make(path.Dir(name))
	}
	if err != nil {
		return nil, err
	}
	defer parent.release()
	base := path.Base(name)
	c.a.pipe.settle(fileKey{parent.ino, base})
	st, err := statAt(parent.fd, base)
	switch {
	case errors.Is(err, unix.ENOENT):
		c.a.implied[name] = true
		err = c.a.mkdir(parent, base, 0o755)
	case err != nil:
	case isWhiteout(st):
		err = c.a.replaceByDir(parent, base, 0o755)
	default:
		err = unix.ENOTDIR
	}
	if err != nil {
		return nil, err
	}
	c.a.times[name] = unix.Timespec{}
	delete(c.a.acls, name)
	return c.open(name)
}

func (c *dirCache) drop(el *list.Element) {
	d := c.order.Remove(el).(*cachedDir)
	delete(c.byName, d.name)
	d.h.release()
}

// flush forgets every name. It is called when a directory or a symbolic link
// goes, because names may then lead elsewhere.
func (c *dirCache) flush() {
	for el := c.order.Front(); el != nil; el = c.order.Front() {
		c.drop(el)
	}
}
