package kept

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// node is a file as a look at it found it. The kernel changes the time "changed"
// (ctime) whenever anything of a file but its name and the directory it lies in is
// changed, and nobody can set it: a file of the same number with the same time is
// the same file.
type node struct {
	name     string
	mode     uint32 // with the type
	links    uint32
	uid, gid uint32
	number   uint64 // of the inode
	device   uint64 // that it is, not that it is on
	size     int64
	born     stamp // zero where the file system does not know
	changed  stamp
	modified stamp
	xattrs   map[string]string // of a directory
	kids     []node            // of a directory, sorted
}

// stamp is a time of a file. The clock may be set back: stamps say whether
// something was changed, by not being equal, rarely which came first.
type stamp struct{ sec, nsec int64 }

func (s stamp) after(o stamp) bool {
	return cmp.Or(cmp.Compare(s.sec, o.sec), cmp.Compare(s.nsec, o.nsec)) > 0
}

// inode names a file, whatever its names. Numbers are used again as soon as a
// file is gone, so the time of birth belongs to it.
type inode struct {
	number uint64
	born   stamp
}

func (n *node) inode() inode { return inode{n.number, n.born} }

func (n *node) kind() uint32 { return n.mode & unix.S_IFMT }

func (n *node) isDir() bool { return n.kind() == unix.S_IFDIR }

// untouched tells that nothing of a file was changed since it was o. Of a
// directory that says nothing about what is in it.
func (n *node) untouched(o *node) bool {
	return n.number == o.number && n.changed == o.changed && n.mode == o.mode
}

// newest is the latest time of a change.
func (n *node) newest() stamp {
	last := n.changed
	n.each(func(k *node) {
		if k.changed.after(last) {
			last = k.changed
		}
	})
	return last
}

// find returns the node with a path relative to n.
func (n *node) find(name string) *node {
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == "" {
			continue
		}
		i, ok := slices.BinarySearchFunc(n.kids, part, func(k node, s string) int { return strings.Compare(k.name, s) })
		if !ok {
			return nil
		}
		n = &n.kids[i]
	}
	return n
}

// each calls f with all files.
func (n *node) each(f func(*node)) {
	f(n)
	for i := range n.kids {
		n.kids[i].each(f)
	}
}

// scan looks at a directory and all that is in it, several directories at once.
func scan(ctx context.Context, root string) (*node, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	n := &node{}
	if err := n.look(fd, "."); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &scanner{}
	s.g, s.ctx = errgroup.WithContext(ctx)
	s.g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	s.g.Go(func() error { return s.directory(fd, n) })
	return n, s.g.Wait()
}

type scanner struct {
	ctx  context.Context // of this run only
	g    *errgroup.Group
	bufs sync.Pool
}

// directory fills in what is in the directory, and closes it.
func (s *scanner) directory(fd int, n *node) error {
	defer unix.Close(fd)
	if err := s.ctx.Err(); err != nil {
		return err
	}
	var err error
	if n.xattrs, err = attributes(fd); err != nil {
		return fmt.Errorf("attributes of directory %q: %w", n.name, err)
	}
	names, err := s.names(fd)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", n.name, err)
	}
	n.kids = make([]node, len(names))
	for i, name := range names {
		k := &n.kids[i]
		if err := k.look(fd, name); err != nil {
			return fmt.Errorf("%q in %q: %w", name, n.name, err)
		}
		if !k.isDir() {
			continue
		}
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %q in %q: %w", name, n.name, err)
		}
		if s.g.TryGo(func() error { return s.directory(sub, k) }) {
			continue
		}
		if err := s.directory(sub, k); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory in byte order.
func (s *scanner) names(fd int) ([]string, error) {
	buf, _ := s.bufs.Get().(*[]byte)
	if buf == nil {
		made := make([]byte, 64<<10)
		buf = &made
	}
	defer s.bufs.Put(buf)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, *buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent((*buf)[:n], -1, names)
	}
	slices.Sort(names)
	return names, nil
}

const lookedAt = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// look fills in all but what is in a directory.
func (n *node) look(at int, name string) error {
	var st unix.Statx_t
	if err := unix.Statx(at, name, unix.AT_SYMLINK_NOFOLLOW, lookedAt, &st); err != nil {
		return err
	}
	n.name, n.mode, n.links, n.uid, n.gid = name, uint32(st.Mode), st.Nlink, st.Uid, st.Gid
	n.number, n.size = st.Ino, int64(st.Size)
	n.device = uint64(st.Rdev_major)<<32 | uint64(st.Rdev_minor)
	n.changed, n.modified = stamp{st.Ctime.Sec, int64(st.Ctime.Nsec)}, stamp{st.Mtime.Sec, int64(st.Mtime.Nsec)}
	n.born = stamp{}
	if st.Mask&unix.STATX_BTIME != 0 {
		n.born = stamp{st.Btime.Sec, int64(st.Btime.Nsec)}
	}
	return nil
}

// attributes returns the extended attributes of an open directory that belong to
// an image; most have none.
func attributes(fd int) (map[string]string, error) {
	var list [1024]byte
	n, err := unix.Flistxattr(fd, list[:])
	if err == unix.ENOTSUP || err == nil && n == 0 {
		return nil, nil
	}
	names := list[:max(n, 0)]
	if err == unix.ERANGE {
		names = make([]byte, 64<<10) // the kernel's limit
		if n, err = unix.Flistxattr(fd, names); err == nil {
			names = names[:n]
		}
	}
	if err != nil {
		return nil, err
	}
	var all map[string]string
	for key := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if !layer.KeepXattr(key) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(fd, key, value)
		if err == unix.ENODATA || err == unix.ENOTSUP {
			continue // trusted ones that others may not see
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if all == nil {
			all = map[string]string{}
		}
		all[key] = string(value[:n])
	}
	return all, nil
}
