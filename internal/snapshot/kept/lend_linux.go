package kept

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// loan is a part of a tree that is given to a step of another one.
type loan struct {
	ctx    context.Context // of Lend
	path   string
	before *node // nil if its changes are what is asked for
}

// Lend returns a file or directory of the tree, by its path in it, to be Put into
// another one and taken back from there before this one is closed. Unless the
// step has changed something, Close then lets the tree wait for another user.
func (t *Tree) Lend(ctx context.Context, name string) (string, error) {
	w, err := t.walker()
	if err != nil {
		return "", err
	}
	defer w.close()
	fd, err := inroot.Open(w.root.FD(), "/"+name, unix.O_PATH, inroot.Within)
	if err != nil {
		return "", fmt.Errorf("source %s: %w", name, err)
	}
	defer unix.Close(fd)
	at, err := w.pathOf(fd)
	if err != nil {
		return "", err
	}
	t.lent = &loan{ctx: ctx, path: filepath.Join(t.Root(), at)}
	if !t.dirty {
		if t.lent.before, err = t.lookAll(ctx, t.lent.path); err != nil {
			return "", err
		}
		t.lent.before.settle()
	}
	return t.lent.path, nil
}

// endLoan sees whether the tree is still what it was.
func (t *Tree) endLoan() error {
	l := t.lent
	t.lent = nil
	if l == nil || l.before == nil {
		return nil
	}
	t.base = nil // the time of what was moved has changed
	after, err := t.lookAll(l.ctx, l.path)
	t.dirty = t.dirty || err != nil || !l.before.equal(after)
	if errors.Is(err, unix.ENOENT) || l.ctx.Err() != nil {
		return nil // the tree goes
	}
	return err
}

// lookAll is scan for anything.
func (t *Tree) lookAll(ctx context.Context, path string) (*node, error) {
	n := &node{}
	if err := n.look(unix.AT_FDCWD, path); err != nil || !n.isDir() {
		return n, err
	}
	return scan(ctx, path, t.m.form)
}

// equal tells whether nothing was changed, but for moving the whole.
func (n *node) equal(o *node) bool {
	o.changed = n.changed
	same := n.modified == o.modified && n.size == o.size && n.uid == o.uid && n.gid == o.gid && n.links == o.links
	return same && n.unchanged(o)
}

func (n *node) unchanged(o *node) bool {
	if !n.untouched(o) || len(n.kids) != len(o.kids) {
		return false
	}
	for i := range n.kids {
		if n.kids[i].name != o.kids[i].name || !n.kids[i].unchanged(&o.kids[i]) {
			return false
		}
	}
	return true
}
