package plan

import (
	"io"
	"math"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// node is a name that is changed, or lies above a change. A plan may have a
// million: a node holds what nearly all entries have, and no more.
type node struct {
	children map[string]*node
	link     *link
	rest     *rest  // of what is not plain
	whole    *whole // what is in it, in place of children

	tree          layer.Tree // the content, as in type content
	from          string
	size, modTime int64
	uid, gid      uint32
	mode          uint32
	typ           layer.Type
	set           bool // there is an entry; otherwise the name is as the base has it
	removed       bool
	hides         bool // nothing of the base shows through below
	digest        digest.Digest
}

// rest is an entry that a node has no room for, and bytes at hand.
type rest struct {
	entry layer.Entry
	data  io.ReaderAt
}

// fill sets the entry and the content.
func (n *node) fill(e layer.Entry, c content) {
	n.typ, n.rest, n.digest = e.Type, nil, e.Digest
	n.tree, n.from = c.tree, c.from
	if !e.Plain() || c.data != nil || !fits(e.UID) || !fits(e.GID) {
		n.rest = &rest{e, c.data}
		return
	}
	n.size, n.modTime, n.mode, n.uid, n.gid = e.Size, e.ModTime, e.Mode, uint32(e.UID), uint32(e.GID)
}

func fits(id int) bool { return id >= 0 && int64(id) <= math.MaxUint32 }

// entry returns the entry, whose name the caller knows.
func (n *node) entry(name string) layer.Entry {
	e := n.own(name)
	if n.link == nil || n.link.said == nil {
		return e
	}
	said := n.link.said
	e.UID, e.GID, e.ModTime = said.UID, said.GID, said.ModTime
	if e.Type != layer.Symlink {
		e.Mode = said.Mode
	}
	return e
}

// own is the entry without what its other names say of it.
func (n *node) own(name string) layer.Entry {
	if n.rest != nil {
		e := n.rest.entry
		e.Name = name
		return e
	}
	return layer.Entry{
		Name: name, Type: n.typ, Size: n.size, Mode: n.mode, UID: int(n.uid), GID: int(n.gid), ModTime: n.modTime, Digest: n.digest,
	}
}

func (n *node) content() content {
	c := content{tree: n.tree, from: n.from}
	if n.rest != nil {
		c.data = n.rest.data
	}
	return c
}

// change changes the entry.
func (n *node) change(f func(e *layer.Entry)) {
	e := n.entry("")
	f(&e)
	n.fill(e, n.content())
}
