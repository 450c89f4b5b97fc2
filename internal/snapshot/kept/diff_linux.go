package kept

import (
	"context"
	"fmt"
	"maps"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// differ writes what has changed between two looks at a tree. It writes what
// package tree writes of an overlay in which the same was done.
type differ struct {
	ctx  context.Context // of this run only
	t    *Tree
	w    *layer.Writer
	now  int64
	view *layer.View // of what the tree held; nil until asked for

	shared map[inode]int    // how many names files had before, of those with several
	names  map[inode]int    // how many they have now, of those with several
	joined map[inode]bool   // unchanged files of which one old name was written beside the new ones
	groups map[inode]*group // files with several names now, as they were written
	alone  []string         // names that were written as files of their own and are not, in the tree
}

func newDiffer(ctx context.Context, t *Tree, w *layer.Writer) *differ {
	return &differ{ctx: ctx, t: t, w: w, now: time.Now().Unix(), shared: map[inode]int{}, names: map[inode]int{}, joined: map[inode]bool{}, groups: map[inode]*group{}}
}

// frame is a directory on the way down. It is written when something in it is,
// and opened when something in it must be.
type frame struct {
	parent  *frame
	name    string // path
	now     *node
	opaque  bool
	written bool
	touched bool // by the differ: its time is no longer what was seen
	fd      int  // -1 while it is not open
}

// run writes the changes. It tells whether after no longer says what the tree is.
func (d *differ) run(before, after *node) (again bool, err error) {
	countNames(before, d.shared)
	countNames(after, d.names)
	fd, err := unix.Open(d.t.Root(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	root := &frame{name: ".", now: after, fd: fd}
	defer root.close()
	changed := !sameMeta(after, before) || d.timeGiven(before, after)
	if changed {
		if err := d.write(root); err != nil {
			return false, err
		}
	}
	// The root is no directory that must come with what is in it.
	root.written = true
	if err := d.inside(root, before.kids); err != nil {
		return false, err
	}
	again, err = d.separate(root)
	if err != nil {
		return false, err
	}
	to := before.modified
	if changed {
		to = stamp{after.modified.sec, 0}
	}
	if after.modified == to && !root.touched {
		return again, nil
	}
	return again, after.setTime(fd, ".", to)
}

// countNames counts the names of files that have several.
func countNames(root *node, into map[inode]int) {
	root.each(func(n *node) {
		if n.links > 1 && !n.isDir() {
			into[n.inode()]++
		}
	})
}

func (f *frame) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
	}
}

// open returns the open directory.
func (f *frame) open() (int, error) {
	if f.fd >= 0 {
		return f.fd, nil
	}
	at, err := f.parent.open()
	if err != nil {
		return -1, err
	}
	fd, err := unix.Openat(at, f.now.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %q: %w", f.name, err)
	}
	f.fd = fd
	return fd, nil
}

// inside writes what has changed in a directory that held the files before.
func (d *differ) inside(f *frame, before []node) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	stay := f.now.kids[:0]
	for i := range f.now.kids {
		k := &f.now.kids[i]
		for len(before) > 0 && before[0].name < k.name {
			if err := d.gone(f, before[0].name); err != nil {
				return err
			}
			before = before[1:]
		}
		var was *node
		if len(before) > 0 && before[0].name == k.name {
			was, before = &before[0], before[1:]
		}
		keep, err := d.one(f, was, k)
		if err != nil {
			return err
		}
		if keep {
			stay = append(stay, *k)
		}
	}
	f.now.kids = stay
	for i := range before {
		if err := d.gone(f, before[i].name); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) gone(f *frame, name string) error {
	if err := d.write(f); err != nil {
		return err
	}
	return d.w.Add(layer.Entry{Name: path.Join(f.name, name), Type: layer.Whiteout, ModTime: d.now}, nil)
}

// one writes a file that is there, if it has changed. keep is false if it is not
// there any more.
func (d *differ) one(f *frame, was, is *node) (keep bool, err error) {
	switch is.kind() {
	case unix.S_IFDIR:
		return true, d.directory(f, was, is)
	case unix.S_IFSOCK: // no layer holds one
		return false, d.socket(f, was, is)
	}
	if was != nil && is.untouched(was) {
		return true, nil
	}
	if err := d.file(f, was, is); err != nil {
		return true, fmt.Errorf("%q: %w", path.Join(f.name, is.name), err)
	}
	return true, nil
}

// socket removes a socket. A file whose place it has taken is gone.
func (d *differ) socket(f *frame, was, is *node) error {
	at, err := f.open()
	if err != nil {
		return err
	}
	f.touched = true
	if err := unix.Unlinkat(at, is.name, 0); err != nil || was == nil {
		return err
	}
	return d.gone(f, is.name)
}

// directory writes a directory if it has changed, and what has changed in it. One
// that was removed and made again hides what was in it, as in an overlay.
func (d *differ) directory(f *frame, was, is *node) error {
	sub := &frame{parent: f, name: path.Join(f.name, is.name), now: is, fd: -1}
	defer sub.close()
	var before []node
	changed := true
	switch {
	case was == nil || !was.isDir():
	case was.inode() == is.inode():
		before, changed = was.kids, !sameMeta(is, was) || d.timeGiven(was, is)
	case len(was.kids) > 0:
		sub.opaque = true
	default:
		changed = !sameMeta(is, was) || d.timeGiven(was, is)
	}
	if changed {
		if err := d.write(sub); err != nil {
			return err
		}
	}
	if err := d.inside(sub, before); err != nil {
		return err
	}
	to := stamp{is.modified.sec, 0}
	if !sub.written { // a time alone is no change
		to = was.modified
	}
	if is.modified == to && !sub.touched {
		return nil // without opening what it lies in
	}
	at, err := f.open()
	if err != nil {
		return err
	}
	return is.setTime(at, is.name, to)
}

// sameMeta compares mode, owner and attributes of directories.
func sameMeta(a, b *node) bool {
	return a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && maps.Equal(a.xattrs, b.xattrs)
}

// timeGiven tells whether a directory was given its time by a program, and has not
// got it from what was done in it.
func (d *differ) timeGiven(was, is *node) bool {
	t := is.modified
	return t != was.modified && (d.t.begun.after(t) || t.sec > d.now)
}

// write adds a directory after those above it.
func (d *differ) write(f *frame) error {
	if f == nil || f.written {
		return nil
	}
	if err := d.write(f.parent); err != nil {
		return err
	}
	f.written = true
	return d.w.Add(layer.Entry{
		Name: f.name, Type: layer.Directory, Mode: f.now.mode & 0o7777, UID: int(f.now.uid), GID: int(f.now.gid),
		ModTime: f.now.modified.sec, Xattrs: f.now.xattrs, Opaque: f.opaque,
	}, nil)
}

// file writes a file unless it is what it was.
func (d *differ) file(f *frame, was, is *node) error {
	at, err := f.open()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at, is.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	e, err := d.t.m.form.Describe(at, is.name, &st)
	if err != nil {
		return err
	}
	e.Name = path.Join(f.name, is.name)
	if was != nil {
		same, err := d.same(at, e, was, is)
		if err != nil || same && !d.linkedAnew(was, is) {
			return err
		}
	}
	if err := d.write(f); err != nil {
		return err
	}
	if is.modified.nsec != 0 {
		if err := is.setTime(at, is.name, stamp{is.modified.sec, 0}); err != nil {
			return err
		}
	}
	if e.Type != layer.Regular {
		return d.w.Add(e, nil)
	}
	if first := d.link(e.Name, was, is); first != "" {
		e.Type, e.Size, e.Linkname, e.Xattrs = layer.Hardlink, 0, first, nil
		return d.w.Add(e, nil)
	}
	content, err := openRegular(at, is.name)
	if err != nil {
		return err
	}
	defer content.Close()
	return d.w.Add(e, tree.Content(content, &st))
}

// setTime gives a file a time, and looks at it again.
func (n *node) setTime(at int, name string, to stamp) error {
	when, err := unix.TimeToTimespec(time.Unix(to.sec, to.nsec))
	if err != nil {
		return fmt.Errorf("set the time of %q: %w", name, err)
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, when}
	if err := unix.UtimesNanoAt(at, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the time of %q: %w", name, err)
	}
	uid, gid := n.uid, n.gid // which may stand in an attribute
	err = n.look(at, name)
	n.uid, n.gid = uid, gid
	return err
}

// lookup finds what the layers of the tree say about a file. ok is false if they
// cannot be asked: then a file may be taken for a changed one that is not.
func (d *differ) lookup(name string) (e layer.Entry, ok bool, err error) {
	if d.view == nil {
		var layers []*layer.Layer
		for _, l := range d.t.layers {
			layers = append(layers, d.t.m.layer(l))
		}
		d.view = layer.NewView(layers)
	}
	e, err = d.view.Lookup(d.ctx, name)
	if err != nil {
		return e, false, d.ctx.Err()
	}
	return e, true, nil
}
