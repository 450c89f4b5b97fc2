package kept

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
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
func scan(ctx context.Context, root string, f tree.Form) (*node, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	n, s := &node{}, &scanner{form: f, flags: freshness(fd)}
	if err := n.lookWith(fd, ".", s.flags); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s.g, s.ctx = errgroup.WithContext(ctx)
	s.g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	s.g.Go(func() error { return s.directory(fd, n) })
	return n, s.g.Wait()
}

type scanner struct {
	ctx   context.Context // of this run only
	g     *errgroup.Group
	bufs  sync.Pool
	form  tree.Form
	flags int // of statx
}

// directory fills in what is in the directory, and closes it.
func (s *scanner) directory(fd int, n *node) error {
	defer unix.Close(fd)
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if err := s.describe(fd, n); err != nil {
		return fmt.Errorf("attributes of directory %q: %w", n.name, err)
	}
	names, err := s.names(fd)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", n.name, err)
	}
	n.kids = make([]node, len(names))
	for i, name := range names {
		k := &n.kids[i]
		if err := k.lookWith(fd, name, s.flags); err != nil {
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

// describe fills in what attributes say of an open directory.
func (s *scanner) describe(fd int, n *node) error {
	all, err := attributes(fd)
	if s.form == tree.Owned {
		o, _ := owner.Parse(all[owner.Attr]) // what a step has written there itself may be anything
		if c, ours := owner.ParseCapability([]byte(all[owner.Capability])); ours {
			o = c
			delete(all, owner.Capability)
		}
		n.uid, n.gid = o.UID, o.GID
	}
	maps.DeleteFunc(all, func(key, _ string) bool { return !layer.KeepXattr(key) })
	n.xattrs = all
	return err
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

// freshness is the flag of statx with which the file system of an open directory says
// how a file is. FUSE knows a file by its name, and remembers for a second how many
// names it has: a new link does not show in the other names at once.
func freshness(fd int) int {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) == nil && int64(fs.Type) == unix.FUSE_SUPER_MAGIC {
		return unix.AT_STATX_FORCE_SYNC
	}
	return unix.AT_STATX_SYNC_AS_STAT
}

// look fills in all but what is in a directory.
func (n *node) look(at int, name string) error {
	return n.lookWith(at, name, unix.AT_STATX_SYNC_AS_STAT)
}

func (n *node) lookWith(at int, name string, flags int) error {
	var st unix.Statx_t
	if err := unix.Statx(at, name, unix.AT_SYMLINK_NOFOLLOW|flags, lookedAt, &st); err != nil {
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

// attributes returns the extended attributes of an open directory; most have none.
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
		if key == "" {
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
