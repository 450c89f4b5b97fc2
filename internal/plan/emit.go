package plan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// Emit writes the changes to w: what is new, whiteouts for what is removed, and
// the directories above a change as they are. What the base has in the same form
// is left out. It lets go of what is written, so that of a large plan there is
// less and less: the tree is of no use afterwards.
func (t *Tree) Emit(ctx context.Context, w *layer.Writer) error {
	t.spent = true
	return t.emit(ctx, func(e layer.Entry, c content) error {
		if e.Type != layer.Regular {
			return w.Add(e, nil)
		}
		r, err := c.open(ctx, e.Size)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := w.Add(e, r); err != nil {
			return err
		}
		if l, ok := r.(Learner); ok {
			return l.Learn(w.Digest())
		}
		return nil
	})
}

// Learner is content of a tree that remembers digests when told.
type Learner interface {
	// Learn is told the digest of all that was read. The error is that it was not
	// the content.
	Learn(digest.Digest) error
}

type visit func(layer.Entry, content) error

// emit visits the changes in order.
func (t *Tree) emit(ctx context.Context, do visit) error {
	m := emitter{t: t, do: do}
	if err := m.findKept(ctx); err != nil {
		return err
	}
	return m.node(ctx, t.root, ".", t.base != nil)
}

// emitter visits the nodes of one tree.
type emitter struct {
	t  *Tree
	do visit
	// pending are the unchanged directories above a node. They are visited only
	// if something below them is.
	pending []layer.Entry
	// kept are the files with several names that the base has in the same form.
	kept map[*link]bool
}

func (m *emitter) node(ctx context.Context, n *node, name string, visible bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.removed {
		if !visible || !m.t.inBase(ctx, name) {
			return nil
		}
		return m.visit(layer.Entry{Name: name, Type: layer.Whiteout}, content{})
	}
	depth := len(m.pending)
	if err := m.self(ctx, n, name, visible); err != nil {
		return err
	}
	visible = visible && !n.hides
	if n.whole != nil {
		if err := m.whole(ctx, n.whole, name); err != nil {
			return err
		}
	}
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		if err := m.node(ctx, n.children[base], join(name, base), visible); err != nil {
			return err
		}
		if m.t.spent {
			delete(n.children, base)
		}
	}
	m.pending = m.pending[:min(depth, len(m.pending))]
	return nil
}

// visit visits an entry after the unchanged directories above it.
func (m *emitter) visit(e layer.Entry, c content) error {
	for _, dir := range m.pending {
		if err := m.do(dir, content{}); err != nil {
			return err
		}
	}
	m.pending = m.pending[:0]
	return m.do(e, c)
}

// self visits a changed entry, and notes an unchanged directory.
func (m *emitter) self(ctx context.Context, n *node, name string, visible bool) error {
	if name == "." {
		return nil // the root comes with every image, and a copy never changes it
	}
	var have layer.Entry
	if visible {
		var err error
		if have, err = m.t.base.Lookup(ctx, name); err != nil && (!n.set || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	e := n.entry(name)
	if !n.set {
		e = have
	}
	if e.Timeless() {
		e.ModTime = m.t.o.Now.Unix()
	}
	e.Name, e.Opaque = name, false // opaque was said to the layers below the one it is from
	if e.Type == layer.Directory && have.Type == layer.Directory {
		if e.Opaque = n.hides; !e.Opaque && sameDirectory(e, have) {
			m.pending = append(m.pending, e)
			return nil
		}
	}
	if n.link != nil {
		return m.linked(n.link, e, n.content())
	}
	if same, err := n.sameFile(ctx, m.t.base, have); same || err != nil {
		return err
	}
	return m.visit(e, n.content())
}

// linked visits one of the names of a file.
func (m *emitter) linked(l *link, e layer.Entry, c content) error {
	if m.kept[l] {
		return nil
	}
	if l.first != "" {
		e.Type, e.Linkname, e.Size = layer.Hardlink, l.first, 0
		return m.visit(e, content{})
	}
	l.first = e.Name
	return m.visit(e, c)
}

func (t *Tree) inBase(ctx context.Context, name string) bool {
	_, err := t.base.Lookup(ctx, name)
	return err == nil
}

// Digester is a tree that knows the digests of its files, or finds them out
// many at a time.
type Digester interface {
	Digests(ctx context.Context, entries []layer.Entry) ([]digest.Digest, error)
}

// batch is how many entries have their digests asked for at a time.
const batch = 2048

// Digest returns a digest of the changes as content: names, types, modes,
// owners, links, attributes and bytes, but no times.
func (t *Tree) Digest(ctx context.Context) (digest.Digest, error) {
	h := digest.SHA256.Hash()
	var b []byte
	var entries []layer.Entry
	var contents []content
	flush := func() error {
		if err := digests(ctx, entries, contents); err != nil {
			return err
		}
		for _, e := range entries {
			b = describe(b[:0], e)
			h.Write(b)
		}
		entries, contents = entries[:0], contents[:0]
		return nil
	}
	t.clearLinks()
	defer t.clearLinks()
	err := t.emit(ctx, func(e layer.Entry, c content) error {
		entries, contents = append(entries, e), append(contents, c)
		if len(entries) < batch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return "", err
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// clearLinks forgets which name of a file came first.
func (t *Tree) clearLinks() {
	for _, l := range t.links {
		l.first = ""
	}
}

// digests fills in the digests of the regular files, asking each tree once.
func digests(ctx context.Context, entries []layer.Entry, contents []content) error {
	asked := map[Digester][]int{}
	for i, e := range entries {
		if e.Type != layer.Regular || e.Digest != "" {
			continue
		}
		if d, ok := contents[i].tree.(Digester); ok {
			asked[d] = append(asked[d], i)
			continue
		}
		d, err := hash(ctx, contents[i], e)
		if err != nil {
			return err
		}
		entries[i].Digest = d
	}
	for d, at := range asked {
		from := make([]layer.Entry, len(at))
		for i, n := range at {
			var err error
			if from[i], err = contents[n].tree.Lookup(ctx, contents[n].from); err != nil {
				return err
			}
		}
		sums, err := d.Digests(ctx, from)
		if err != nil {
			return err
		}
		for i, n := range at {
			entries[n].Digest = sums[i]
		}
	}
	return nil
}

func hash(ctx context.Context, c content, e layer.Entry) (digest.Digest, error) {
	r, err := c.open(ctx, e.Size)
	if err != nil {
		return "", err
	}
	defer r.Close()
	d, err := digest.SHA256.FromReader(r)
	if err != nil {
		return "", fmt.Errorf("/%s: %w", e.Name, err)
	}
	return d, nil
}

// describe appends all of an entry that makes its content to b. Each part says
// how long it is, so no two entries read alike.
func describe(b []byte, e layer.Entry) []byte {
	b = frame(b, e.Name)
	b = append(b, byte(e.Type))
	for _, n := range []int64{int64(e.Mode), int64(e.UID), int64(e.GID), e.Devmajor, e.Devminor, e.Size} {
		b = binary.AppendVarint(b, n)
	}
	b = frame(b, e.Linkname)
	b = frame(b, string(e.Digest))
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		b = frame(frame(b, k), e.Xattrs[k])
	}
	return b
}

func frame(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
