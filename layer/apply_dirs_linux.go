package layer

import (
	"container/list"
	"errors"
	"fmt"
	"path"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	maxCachedDirs = 256
	maxFollowed   = 40 // as the kernel's own limit on a chain of symbolic links
	// maxPath is the longest name given to the kernel at once; deeper
	// directories are reached from their parent.
	maxPath = 3500
)

// dirHandle is an O_PATH descriptor of a directory. It is shared by the cache
// and by writers and closed by the last of them.
type dirHandle struct {
	fd   int
	ino  uint64
	refs atomic.Int32
}

func newDirHandle(fd int) (*dirHandle, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	h := &dirHandle{fd: fd, ino: st.Ino}
	h.refs.Store(1)
	return h, nil
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

// get returns the directory name and makes it when it does not exist.
func (c *dirCache) get(name string) (*dirHandle, error) { return c.getDepth(name, 0) }

func (c *dirCache) getDepth(name string, links int) (*dirHandle, error) {
	h, err := c.open(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		if err = c.makeDir(name, links); err == nil {
			h, err = c.open(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", quoteName(name), err)
	}
	return h, nil
}

// open returns the directory name if it exists.
func (c *dirCache) open(name string) (*dirHandle, error) {
	if el, ok := c.byName[name]; ok {
		c.order.MoveToFront(el)
		return el.Value.(*cachedDir).h.hold(), nil
	}
	fd, err := c.openFd(name)
	if err != nil {
		return nil, err
	}
	h, err := newDirHandle(fd)
	if err != nil {
		return nil, err
	}
	c.byName[name] = c.order.PushFront(&cachedDir{name: name, h: h.hold()})
	if c.order.Len() > maxCachedDirs {
		c.drop(c.order.Back())
	}
	return h, nil
}

func (c *dirCache) openFd(name string) (int, error) {
	if len(name) <= maxPath {
		return openInRoot(c.a.root, name, unix.O_PATH|unix.O_DIRECTORY)
	}
	dir, base := splitName(name)
	parent, err := c.open(dir)
	if err != nil {
		return -1, err
	}
	defer parent.release()
	return unix.Openat(parent.fd, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// makeDir makes a directory that the tar only implies, through symbolic links
// whose target does not exist yet if need be.
func (c *dirCache) makeDir(name string, links int) error {
	dir, base := splitName(name)
	parent, err := c.getDepth(dir, links)
	if err != nil {
		return err
	}
	defer parent.release()
	c.a.pipe.settle(fileKey{parent.ino, base})
	st, err := statAt(parent.fd, base)
	switch {
	case errors.Is(err, unix.ENOENT):
		c.a.implied[name] = true
		c.a.times[name] = unix.Timespec{}
		return c.a.mkdir(parent, base, 0o755)
	case err != nil:
		return err
	case isWhiteout(st):
		c.a.implied[name] = true
		return c.a.replaceWhiteout(parent, base)
	case st.Mode&unix.S_IFMT != unix.S_IFLNK:
		return unix.ENOTDIR
	case links >= maxFollowed:
		return unix.ELOOP
	}
	target, err := readlinkAt(parent.fd, base)
	if err != nil {
		return err
	}
	if !path.IsAbs(target) {
		target = path.Join("/", dir, target)
	}
	to, err := c.getDepth(path.Clean(path.Clean(target)[1:]), links+1)
	if err == nil {
		to.release()
	}
	return err
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
