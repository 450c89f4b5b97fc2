package plan

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"

	"github.com/ocibuild/ocibuild/layer"
)

// A layer does not repeat what the layers below it have. BuildKit compares a
// copied file with the file below by type, mode, owner, device, size, time and,
// where the times say too little, content; a directory by all of that but its
// time. The content always counts here, and so do all attributes.

// sameDirectory tells whether a layer need not mention a directory.
func sameDirectory(a, b layer.Entry) bool {
	return sameOwnerAndMode(a, b) && a.Type == layer.Directory
}

func sameOwnerAndMode(a, b layer.Entry) bool {
	return a.Type == b.Type && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && maps.Equal(a.Xattrs, b.Xattrs)
}

// sameFile tells whether a node that is no directory is what the base has.
func (n *node) sameFile(ctx context.Context, base layer.Tree, have layer.Entry) (bool, error) {
	e := n.entry(have.Name)
	if !n.set || e.Type == layer.Directory || !sameOwnerAndMode(e, have) || e.ModTime != have.ModTime || e.Size != have.Size ||
		e.Linkname != have.Linkname || e.Devmajor != have.Devmajor || e.Devminor != have.Devminor {
		return false, nil
	}
	if e.Type != layer.Regular || e.Size == 0 || layer.SameContent(e, have) {
		return true, nil
	}
	if e.Digest != "" && have.Digest != "" {
		return e.Digest == have.Digest, nil
	}
	return n.sameBytes(ctx, base, have)
}

// sameBytes compares digests of which at least one is not known yet, so that a
// file is read. With the time and size of the file below it most likely is the
// same, and then it is not read again.
func (n *node) sameBytes(ctx context.Context, base layer.Tree, have layer.Entry) (bool, error) {
	both := []layer.Entry{n.entry(have.Name), have}
	err := digests(ctx, both, []content{n.content(), {tree: base, from: have.Name}})
	return both[0].Digest == both[1].Digest, err
}

// findKept finds the files with several names that the base has under the same
// names. If one of the names is another file in the base, all are written: a
// hard link can only lead to a file of its own layer or to one that stays.
func (m *emitter) findKept(ctx context.Context) error {
	if len(m.t.links) == 0 || m.t.base == nil {
		return nil
	}
	inodes := map[*link]string{}
	var walk func(n *node, name string, visible bool) error
	walk = func(n *node, name string, visible bool) error {
		if n.link != nil {
			inode, err := m.inodeBelow(ctx, n, name, visible)
			if err != nil {
				return err
			}
			if before, ok := inodes[n.link]; ok && before != inode {
				inode = "" // no name of a file
			}
			inodes[n.link] = inode
		}
		if n.whole != nil { // the base has nothing there
			if err := n.whole.linksIn(ctx, func(l *link) { inodes[l] = "" }); err != nil {
				return err
			}
		}
		for base, child := range n.children {
			if err := walk(child, join(name, base), visible && !n.hides); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(m.t.root, ".", true); err != nil {
		return err
	}
	m.kept = map[*link]bool{}
	for l, inode := range inodes {
		m.kept[l] = inode != ""
	}
	return nil
}

// inodeBelow returns which file of the base has the name and form of a node; it
// is empty if none has.
func (m *emitter) inodeBelow(ctx context.Context, n *node, name string, visible bool) (string, error) {
	if !visible {
		return "", nil
	}
	have, err := m.t.base.Lookup(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	same, err := n.sameFile(ctx, m.t.base, have)
	if err != nil || !same {
		return "", err
	}
	return cmp.Or(have.Inode, "name "+name), nil
}
