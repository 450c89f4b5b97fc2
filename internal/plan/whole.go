package plan

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"

	"github.com/ocibuild/ocibuild/layer"
)

// whole is a directory that is copied with all that is in it, to where nothing was.
// The plan does not go through it: a large copy weighs nothing until it is
// emitted, a directory at a time. What is in it becomes nodes when some of it is
// changed.
type whole struct {
	c     *copier
	links map[string]*link // by inode, as in the copier when it came to this source
	from  string           // the directory of the source
}

// takesAll tells whether everything in a directory of the source is copied, and
// nobody has to know of what.
func (c *copier) takesAll(v verdict) bool {
	return v.take && c.filter.include == nil && c.filter.exclude == nil && c.copied == nil
}

// wholly plans the copy of all that is in a directory to the directory target, if
// nothing is there. It returns false if something may be.
func (c *copier) wholly(from, target string) bool {
	p := c.t.find(target)
	n := p.n
	if n == nil || !n.set || n.typ != layer.Directory || p.visible && !n.hides || len(n.children) > 0 || n.whole != nil {
		return false
	}
	n.whole = &whole{c: c, links: c.links, from: from}
	return true
}

// lookup returns what becomes of the entry that has the name rest in the source's
// directory; it is called name.
func (w *whole) lookup(ctx context.Context, rest, name string) (layer.Entry, error) {
	e, err := w.c.src.Lookup(ctx, join(w.from, rest))
	if errors.Is(err, fs.ErrNotExist) {
		return e, notExist(name)
	}
	return w.c.entry(e, name), err
}

func (w *whole) readDir(ctx context.Context, rest, name string) ([]layer.Entry, error) {
	entries, err := w.c.src.ReadDir(ctx, join(w.from, rest))
	out := make([]layer.Entry, len(entries))
	for i, e := range entries {
		out[i] = w.c.entry(e, join(name, path.Base(e.Name)))
	}
	return out, err
}

func (w *whole) open(ctx context.Context, rest string) (io.ReadCloser, error) {
	e, err := w.c.src.Lookup(ctx, join(w.from, rest))
	if err != nil {
		return nil, err
	}
	return w.c.src.Open(ctx, e)
}

// below is the same for a directory in the directory.
func (w *whole) below(from string) *whole { return &whole{c: w.c, links: w.links, from: from} }

// link returns what the names of a file share; nil for a file with one name.
func (w *whole) link(e *layer.Entry) *link {
	if e.Inode == "" {
		return nil
	}
	return w.c.t.link(w.links, e.Inode)
}

// unfold makes nodes of what is directly in a directory.
func (n *node) unfold(ctx context.Context) error {
	w := n.whole
	if w == nil {
		return nil
	}
	entries, err := w.c.src.ReadDir(ctx, w.from)
	if err != nil {
		return err
	}
	n.whole, n.children = nil, make(map[string]*node, len(entries))
	for i := range entries {
		e := &entries[i]
		base := path.Base(e.Name)
		child := &node{set: true, hides: true, link: w.link(e)}
		from := content{tree: w.c.src, from: e.Name}
		if e.Type == layer.Directory {
			child.whole, from = w.below(e.Name), content{}
		}
		child.fill(w.c.entry(*e, base), from)
		n.children[base] = child
	}
	return nil
}

// whole visits what is in a directory that is copied with all that is in it.
func (m *emitter) whole(ctx context.Context, w *whole, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := w.c.src.ReadDir(ctx, w.from)
	if err != nil {
		return err
	}
	for i := range entries {
		from := &entries[i]
		e := w.c.entry(*from, join(name, path.Base(from.Name)))
		if from.Type == layer.Directory {
			if err := m.visit(e, content{}); err != nil {
				return err
			}
			if err := m.whole(ctx, w.below(from.Name), e.Name); err != nil {
				return err
			}
			continue
		}
		c := content{tree: w.c.src, from: from.Name}
		if l := w.link(from); l != nil {
			err = m.linked(l, e, c)
		} else {
			err = m.visit(e, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// linksIn calls do for each file of a directory that has a name elsewhere in the plan.
func (w *whole) linksIn(ctx context.Context, do func(*link)) error {
	if len(w.links) == 0 {
		return nil
	}
	entries, err := w.c.src.ReadDir(ctx, w.from)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		if e.Type == layer.Directory {
			if err := w.below(e.Name).linksIn(ctx, do); err != nil {
				return err
			}
		} else if l := w.links[e.Inode]; e.Inode != "" && l != nil {
			do(l)
		}
	}
	return nil
}
