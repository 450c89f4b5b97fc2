// Package plan works out what a file operation changes. A [Tree] is a read-only
// tree with changes on top: copies, new files, removals. Nothing is mounted,
// unpacked or written; only when the tree is emitted as a layer is the content
// of the files read, straight from where it lies.
//
// The rules are those of BuildKit's file operations (solver/llbsolver/file and
// fsutil/copy), which the Dockerfile reference describes under COPY and ADD.
package plan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

// Tree is a file tree with changes. It is a [layer.Tree] itself, so one
// operation can read what another one planned. It is not safe for concurrent
// changes.
type Tree struct {
	base  layer.Tree
	root  *node
	o     Options
	spent bool // it is being emitted
	// links are those of all files with several names.
	links []*link
	// touched is the directory that a change gave its time to last, and touchedAt that time: most of the time the next
	// change is in it too.
	touched   string
	touchedAt int64
	walk      walk

	spools []*os.File
}

// Options are the circumstances of a plan.
type Options struct {
	// Now is the time of what has no other: directories that are made.
	Now time.Time
	// Spool makes a temporary file for archives that must be decompressed
	// before their entries can be read in order; the plan closes it.
	Spool func() (*os.File, error)
	// Limits bounds the archives that are unpacked.
	Limits layer.Limits
	// KeepArchives leaves archives packed: enough to tell whether a source
	// has changed.
	KeepArchives bool
}

// New plans changes on top of base, which may be nil for an empty tree.
func New(base layer.Tree, o Options) *Tree {
	return &Tree{base: base, root: &node{}, o: o}
}

// link is shared by the names of one file.
type link struct {
	first string
	// said is what the last name of the file in an archive says of it, for all of its names; nil if none says anything.
	said *layer.Entry
}

// content says where the bytes of a regular file come from: an entry of a
// tree, or bytes at hand.
type content struct {
	tree layer.Tree
	from string // the name in tree
	data io.ReaderAt
}

func split(name string) []string {
	if name == "." || name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func notExist(name string) error {
	return &fs.PathError{Op: "lookup", Path: "/" + name, Err: fs.ErrNotExist}
}

// Lookup implements layer.Tree.
func (t *Tree) Lookup(ctx context.Context, name string) (layer.Entry, error) {
	p := t.find(name)
	switch {
	case p.whole != nil:
		return p.whole.lookup(ctx, p.rest, name)
	case p.n != nil && p.n.removed:
	case p.n != nil && p.n.set:
		return p.n.entry(name), nil
	case p.visible:
		return t.base.Lookup(ctx, name)
	case name == ".":
		return layer.Entry{Name: ".", Type: layer.Directory, Mode: 0o755}, nil
	}
	return layer.Entry{}, notExist(name)
}

// ReadDir implements layer.Tree.
func (t *Tree) ReadDir(ctx context.Context, name string) ([]layer.Entry, error) {
	dir, err := t.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	if dir.Type != layer.Directory {
		return nil, &fs.PathError{Op: "readdir", Path: "/" + name, Err: errors.New("not a directory")}
	}
	p := t.find(name)
	switch {
	case p.whole != nil:
		return p.whole.readDir(ctx, p.rest, name)
	case p.n != nil && p.n.whole != nil:
		return p.n.whole.readDir(ctx, ".", name)
	}
	var out []layer.Entry
	if p.visible && (p.n == nil || !p.n.hides) {
		if out, err = t.base.ReadDir(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if p.n == nil {
		return out, nil
	}
	return p.n.over(out, name), nil
}

// over lays what is changed in the directory name over what the base has there.
func (n *node) over(below []layer.Entry, name string) []layer.Entry {
	out := slices.DeleteFunc(slices.Clone(below), func(e layer.Entry) bool {
		c := n.children[path.Base(e.Name)]
		return c != nil && (c.set || c.removed)
	})
	for base, c := range n.children {
		if c.set && !c.removed {
			out = append(out, c.entry(join(name, base)))
		}
	}
	slices.SortFunc(out, func(a, b layer.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Open implements layer.Tree.
func (t *Tree) Open(ctx context.Context, e layer.Entry) (io.ReadCloser, error) {
	p := t.find(e.Name)
	switch {
	case p.whole != nil:
		return p.whole.open(ctx, p.rest)
	case p.n != nil && p.n.set:
		return p.n.content().open(ctx, e.Size)
	case p.visible:
		return t.base.Open(ctx, e)
	default:
		return nil, &fs.PathError{Op: "open", Path: "/" + e.Name, Err: fs.ErrNotExist}
	}
}

func (c content) open(ctx context.Context, size int64) (io.ReadCloser, error) {
	switch {
	case c.data != nil:
		return io.NopCloser(io.NewSectionReader(c.data, 0, size)), nil
	case c.tree != nil:
		e, err := c.tree.Lookup(ctx, c.from)
		if err != nil {
			return nil, err
		}
		return c.tree.Open(ctx, e)
	default:
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
}

// put sets what name is. A directory put over a directory keeps what is in it.
func (t *Tree) put(ctx context.Context, e layer.Entry, c content) (*node, error) {
	n, err := t.node(ctx, e.Name)
	if err != nil {
		return nil, err
	}
	if e.Name == t.touched {
		t.touched = ""
	}
	if n.set && n.typ == layer.Directory && e.Type != layer.Directory {
		n.children, n.whole = nil, nil
	}
	if e.Type != layer.Directory {
		n.hides = true
	}
	n.set, n.removed, n.link = true, false, nil
	n.fill(e, c)
	return n, nil
}

// putNew sets what a directory is that was not there: nothing of the base shows through in it.
func (t *Tree) putNew(ctx context.Context, e layer.Entry) error {
	n, err := t.put(ctx, e, content{})
	if err == nil {
		n.hides = true
	}
	return err
}

// link returns what the names of a file share, of which links knows those of one source.
func (t *Tree) link(links map[string]*link, inode string) *link {
	l := links[inode]
	if l == nil {
		l = t.newLink()
		links[inode] = l
	}
	return l
}

func (t *Tree) newLink() *link {
	l := &link{}
	t.links = append(t.links, l)
	return l
}

// remove takes name away, with all that is in it.
func (t *Tree) remove(ctx context.Context, name string) error {
	n, err := t.node(ctx, name)
	if err != nil {
		return err
	}
	*n = node{removed: true, hides: true}
	t.touched = ""
	return nil
}

// touch gives the directory of name the time at, as a file system does when a name in it comes or goes.
func (t *Tree) touch(ctx context.Context, name string, at *time.Time) error {
	dir, now := dirOf(name), t.time(at)
	if name == "." || dir == t.touched && now == t.touchedAt {
		return nil
	}
	e, err := t.Lookup(ctx, dir)
	if err != nil {
		return err
	}
	if e.ModTime != now {
		e.Name, e.ModTime = dir, now
		if _, err := t.put(ctx, e, content{}); err != nil {
			return err
		}
	}
	t.touched, t.touchedAt = dir, now
	return nil
}

// setTime gives a directory that is planned its time again, after the changes in it.
func (t *Tree) setTime(name string, at int64) {
	if n := t.find(name).n; n != nil && n.set {
		n.change(func(e *layer.Entry) { e.ModTime = at })
	}
	if name == t.touched {
		t.touched = ""
	}
}

// resolve returns where name leads when every symbolic link on the way is
// followed inside the tree, the last one too. What does not exist stays as is.
func (t *Tree) resolve(ctx context.Context, name string) (string, error) {
	return layer.Resolve(ctx, t, name, true)
}

// mkdirAll makes the directory name and those above it that are missing.
func (t *Tree) mkdirAll(ctx context.Context, name string, mode uint32, own *Owner, at *time.Time) error {
	e, err := t.Lookup(ctx, name)
	if err == nil {
		if e.Type == layer.Symlink { // made on the way by a copy with links in it
			to, err := t.resolve(ctx, name)
			if err != nil {
				return err
			}
			return t.mkdirAll(ctx, to, mode, own, at)
		}
		if e.Type != layer.Directory {
			return fmt.Errorf("mkdir /%s: not a directory", name)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.mkdirAll(ctx, dirOf(name), mode, own, at); err != nil {
		return err
	}
	d := layer.Entry{Name: name, Type: layer.Directory, Mode: mode & 0o7777, ModTime: t.time(at)}
	if err := errors.Join(t.inherit(ctx, &d), t.touch(ctx, name, at)); err != nil {
		return err
	}
	own.apply(&d)
	return t.putNew(ctx, d)
}

// inherit gives what is made in a set-gid directory the group of that, and the
// bit to directories, as the kernel does.
func (t *Tree) inherit(ctx context.Context, e *layer.Entry) error {
	dir, err := t.Lookup(ctx, dirOf(e.Name))
	if err != nil || dir.Mode&0o2000 == 0 {
		return err
	}
	if e.GID = dir.GID; e.Type == layer.Directory {
		e.Mode |= 0o2000
	}
	return nil
}

func (t *Tree) time(at *time.Time) int64 {
	if at != nil {
		return at.Unix()
	}
	return t.o.Now.Unix()
}

// clean makes a path of a Dockerfile a name of the tree; dir tells that the
// path can only mean a directory.
func clean(p string) (name string, dir bool) {
	dir = strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || p == "." || p == ""
	name = strings.TrimPrefix(path.Clean("/"+p), "/")
	if name == "" {
		name = "."
	}
	return name, dir
}
