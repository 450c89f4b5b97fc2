package plan

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// Emit writes the changes to w: what is new, whiteouts for what is removed, and
// the directories above a change as they are. It lets go of what is written, so
// that of a large plan there is less and less: the tree is of no use afterwards.
func (t *Tree) Emit(ctx context.Context, w *layer.Writer) error {
	t.spent = true
	_, visible := t.find(".")
	return t.emit(ctx, t.root, ".", visible, func(e layer.Entry, c content) error {
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
			l.Learn(w.Digest())
		}
		return nil
	})
}

// Learner is content of a tree that remembers digests when told.
type Learner interface {
	// Learn is told the digest of all that was read.
	Learn(digest.Digest)
}

type visit func(layer.Entry, content) error

func (t *Tree) emit(ctx context.Context, n *node, name string, visible bool, do visit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.removed {
		if !visible || !t.inBase(ctx, name) {
			return nil
		}
		return do(layer.Entry{Name: name, Type: layer.Whiteout}, content{})
	}
	if visible && t.onlyTime(ctx, n, name) {
		return nil
	}
	if err := t.emitSelf(ctx, n, name, visible, do); err != nil {
		return err
	}
	visible = visible && !n.hides
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		if err := t.emit(ctx, n.children[base], path.Join(name, base), visible, do); err != nil {
			return err
		}
		if t.spent {
			delete(n.children, base)
		}
	}
	return nil
}

// onlyTime tells whether a node is a directory of the base that has another
// time and nothing else: like others, a layer does not speak of it.
func (t *Tree) onlyTime(ctx context.Context, n *node, name string) bool {
	if !n.set || n.hides || len(n.children) > 0 || n.entry.Type != layer.Directory {
		return false
	}
	have, err := t.base.Lookup(ctx, name)
	return err == nil && bytes.Equal(describe(nil, have), describe(nil, n.entry))
}

// emitSelf writes a changed entry, or the unchanged directory above a change.
func (t *Tree) emitSelf(ctx context.Context, n *node, name string, visible bool, do visit) error {
	if name == "." {
		return nil // the root comes with every image, and a copy never changes it
	}
	e := n.entry
	if !n.set {
		var err error
		if e, err = t.base.Lookup(ctx, name); err != nil {
			return err
		}
		e.Opaque = false // that was said to the layers below the one it is from
		return do(e, content{})
	}
	e.Name, e.Opaque = name, false
	if n.hides && e.Type == layer.Directory && visible {
		have, err := t.base.Lookup(ctx, name)
		e.Opaque = err == nil && have.Type == layer.Directory
	}
	if n.link != nil {
		if n.link.first != "" {
			e.Type, e.Linkname, e.Size = layer.Hardlink, n.link.first, 0
			return do(e, content{})
		}
		n.link.first = name
	}
	return do(e, n.content)
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
	_, visible := t.find(".")
	t.clearLinks(t.root)
	defer t.clearLinks(t.root)
	err := t.emit(ctx, t.root, ".", visible, func(e layer.Entry, c content) error {
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
func (t *Tree) clearLinks(n *node) {
	if n.link != nil {
		n.link.first = ""
	}
	for _, c := range n.children {
		t.clearLinks(c)
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
