package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// replay unpacks the entries of a tar, in their order, into a tree of names, by
// the rules by which package tree unpacks them into a directory:
//
//   - The directory above an entry is found through symbolic links of the same
//     layer; what is missing of it is made. A file in its way is an error.
//   - Of several entries with one name the last stays. A file takes the place of
//     a directory and all in it; two directories become one.
//   - A whiteout concerns lower layers only: beside a file it says nothing, a
//     directory it makes opaque. A directory in place of anything else is
//     opaque, because what was there hid the lower layers.
//   - A hard link leads to the file that has the name at that moment or, if none
//     has, to the file of that name in lower layers.
type replay struct {
	t    *TOC
	root *replayNode
	err  error // of a record that was made
}

// replayNode is one name.
type replayNode struct {
	name     string // in the tree; the record may have one that leads through links
	off      int64  // of its record; -1 for an implied directory
	file     *replayFile
	children map[string]*replayNode // nil unless it is a directory
	opaque   bool
}

// replayFile is what the names that are hard links of each other share.
type replayFile struct {
	off     uint32 // of the record that describes it
	typ     Type
	link    string
	primary *replayNode // the name under which the file is written; set at the end
}

// replay makes the table of what the entries at offs leave.
func (t *TOC) replay(offs []uint32) error {
	r := &replay{t: t, root: newReplayDir("", -1)}
	for _, off := range offs {
		e := t.entryAt(off)
		if err := r.add(e, off); err != nil {
			return fmt.Errorf("layer entry %s: %w", quoteName(e.Name), err)
		}
	}
	t.index = t.index[:0]
	r.choose(r.root)
	r.emit(r.root)
	t.sort()
	return r.err
}

func newReplayDir(name string, off int64) *replayNode {
	return &replayNode{name: name, off: off, children: map[string]*replayNode{}}
}

func (r *replay) add(e Entry, off uint32) error {
	if t := r.t; t.records.at(off)[0]&flagPseudo != 0 {
		d, err := r.dir(e.Name)
		if err == nil {
			d.opaque = true
		}
		return err
	}
	if e.Name == "." {
		r.root.off = int64(off)
		r.root.opaque = r.root.opaque || e.Opaque
		return nil
	}
	parent, err := r.dir(path.Dir(e.Name))
	if err != nil {
		return err
	}
	base := path.Base(e.Name)
	old := parent.children[base]
	if e.Type == Whiteout && old != nil {
		old.opaque = true // which means nothing but for directories
		return nil
	}
	n := &replayNode{name: childKey(parent.name, base), off: int64(off), opaque: e.Opaque}
	if e.Type == Directory {
		n.directory(old)
	} else if n.file, err = r.file(e, off, old); err != nil {
		return err
	}
	parent.children[base] = n
	return nil
}

// directory makes n a directory in place of old.
func (n *replayNode) directory(old *replayNode) {
	n.children = map[string]*replayNode{}
	switch {
	case old == nil:
	case old.children != nil:
		n.children, n.opaque = old.children, n.opaque || old.opaque
	default:
		n.opaque = true
	}
}

// file is what the entry e gives a name to, in place of old.
func (r *replay) file(e Entry, off uint32, old *replayNode) (*replayFile, error) {
	if e.Type == Hardlink {
		f, err := r.target(e.Linkname, old)
		if err != nil {
			return nil, fmt.Errorf("hard link to %s: %w", quoteName(e.Linkname), err)
		}
		if f != nil {
			return f, nil
		}
		r.t.records.at(off)[0] |= flagBelow
		return &replayFile{off: off, typ: Hardlink, link: e.Linkname}, nil
	}
	return &replayFile{off: off, typ: e.Type, link: e.Linkname}, nil
}

// target is what a hard link in the place of old leads to; nil for a file of a
// lower layer.
func (r *replay) target(name string, old *replayNode) (*replayFile, error) {
	dir, err := r.find(path.Dir(name))
	if err != nil || dir == nil || dir.children == nil {
		return nil, err
	}
	n := dir.children[path.Base(name)]
	switch {
	case n == nil:
		return nil, nil
	case n.children != nil:
		return nil, errors.New("is a directory")
	case n == old && n.file.typ != Whiteout:
		return nil, errors.New("links to itself")
	case n.file.typ == Whiteout, old != nil && isUnder(n.name, old.name):
		return nil, nil // what the link replaces is gone before it is made
	}
	return n.file, nil
}

// find returns what name leads to through symbolic links; nil if it is not there.
func (r *replay) find(name string) (*replayNode, error) {
	n, link := r.walk(nameKey(name))
	if !link {
		return n, nil
	}
	name, err := r.resolve(name)
	if err != nil {
		return nil, err
	}
	n, _ = r.walk(nameKey(name))
	return n, nil
}

func (r *replay) resolve(name string) (string, error) {
	return Resolve(context.Background(), &replayLinks{r: r}, name, true)
}

// replayLinks tells Resolve where symbolic links are. It remembers the last
// directory: Resolve goes down a path step by step.
type replayLinks struct {
	r  *replay
	at string
	n  *replayNode // what at is
}

func (l *replayLinks) Lookup(_ context.Context, name string) (Entry, error) {
	var n *replayNode
	if l.n != nil && path.Dir(name) == l.at {
		n = l.n.children[path.Base(name)]
	} else {
		n, _ = l.r.walk(nameKey(name))
	}
	l.at, l.n = name, n
	switch {
	case n == nil:
		return Entry{}, fs.ErrNotExist
	case n.children != nil:
		return Entry{Name: name, Type: Directory}, nil
	}
	return Entry{Name: name, Type: n.file.typ, Linkname: n.file.link}, nil
}

// walk goes down without following; link tells that a symbolic link is on the way.
func (r *replay) walk(key string) (n *replayNode, link bool) {
	n = r.root
	for rest := key; n != nil && rest != ""; {
		if n.file != nil {
			return nil, n.file.typ == Symlink
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		n = n.children[part]
	}
	return n, n != nil && n.file != nil && n.file.typ == Symlink
}

// dir returns the directory that name leads to, and makes what is missing of it.
func (r *replay) dir(name string) (*replayNode, error) {
	n, link := r.walk(nameKey(name))
	if link {
		var err error
		if name, err = r.resolve(name); err != nil {
			return nil, err
		}
	} else if n != nil && n.children != nil {
		return n, nil
	}
	n = r.root
	for rest := nameKey(name); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		child := n.children[part]
		switch {
		case child == nil:
			child = newReplayDir(childKey(n.name, part), -1)
		case child.children != nil:
		case child.file.typ == Whiteout:
			child = newReplayDir(child.name, -1)
			child.opaque = true
		default:
			return nil, fmt.Errorf("directory %s: %w", quoteName(child.name), errNotDir)
		}
		n.children[part] = child
		n = child
	}
	return n, nil
}

// choose finds the name under which each file is written: of those left, the
// one made first.
func (r *replay) choose(n *replayNode) {
	for _, c := range n.children {
		if c.children != nil {
			r.choose(c)
		} else if p := c.file.primary; p == nil || c.off < p.off {
			c.file.primary = c
		}
	}
}

// emit adds what is left to the table.
func (r *replay) emit(n *replayNode) {
	switch {
	case n.off >= 0:
		r.put(n, r.t.entryAt(uint32(n.off)), 0)
	case n.opaque:
		r.put(n, impliedDir(n.name), 0)
	}
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		c := n.children[base]
		switch {
		case c.children != nil:
			r.emit(c)
		case c.file.primary != c:
			e := r.t.entryAt(uint32(c.off))
			e.Linkname = c.file.primary.name
			r.put(c, e, 0)
		default:
			off := c.file.off
			r.put(c, r.t.entryAt(off), r.t.records.at(off)[0]&flagBelow)
		}
	}
}

func (r *replay) put(n *replayNode, e Entry, flags byte) {
	e.Name, e.Opaque = keyName(n.name), n.opaque && n.children != nil
	off, err := r.t.records.add(&e, flags)
	r.err = errors.Join(r.err, err)
	r.t.index = append(r.t.index, off)
}
