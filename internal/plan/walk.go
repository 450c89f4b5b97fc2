package plan

import (
	"context"
	"sort"
	"strings"
	"sync"
)

// place is where a name is.
type place struct {
	n       *node  // nil if it is not changed
	visible bool   // the base shows through
	whole   *whole // above it, if a directory is that it is in; n is nil then
	rest    string // the name in that
}

// below is the place of what a node has in it.
func (p place) below(child *node) place {
	return place{n: child, visible: p.visible && !p.n.hides && !p.n.removed}
}

// walk is the way to the name that was asked for last. The next one mostly is near
// it: however deep a tree is, it is not walked from its root for each name. Only the
// last node of the way is ever changed, so that the way to it stays right.
type walk struct {
	mu    sync.Mutex
	name  string
	steps []step // on the way to name, as far as there are nodes
}

// step is a node on the way.
type step struct {
	place
	end int // of its name, which is the beginning of the name that is walked to
}

// back goes back to where the way to name branches off.
func (w *walk) back(name string) {
	keep := sort.Search(len(w.steps), func(i int) bool { return !leads(w.name[:w.steps[i].end], name) })
	w.name, w.steps = name, w.steps[:keep]
}

// leads tells whether a directory is on the way to name, or is what has the name.
func leads(dir, name string) bool {
	return strings.HasPrefix(name, dir) && (len(name) == len(dir) || name[len(dir)] == '/')
}

// reach walks to the last node on the way to name, and returns the rest of the
// name. It needs the lock of the walk.
func (t *Tree) reach(name string) (p place, rest string) {
	if name == "." {
		name = ""
	}
	w := &t.walk
	w.back(name)
	p = place{n: t.root, visible: t.base != nil}
	at := 0
	if len(w.steps) > 0 {
		last := w.steps[len(w.steps)-1]
		p, at = last.place, last.end+1
	}
	for at < len(name) && p.n.whole == nil {
		part, _, _ := strings.Cut(name[at:], "/")
		child := p.n.children[part]
		if child == nil {
			break
		}
		p = p.below(child)
		w.steps = append(w.steps, step{p, at + len(part)})
		at += len(part) + 1
	}
	return p, name[min(at, len(name)):]
}

// find walks to name.
func (t *Tree) find(name string) place {
	t.walk.mu.Lock()
	defer t.walk.mu.Unlock()
	p, rest := t.reach(name)
	switch {
	case rest == "":
		return p
	case p.n.whole != nil:
		return place{whole: p.n.whole, rest: rest}
	default:
		return p.below(nil)
	}
}

// node returns the node of name and makes it and those above it if needed.
func (t *Tree) node(ctx context.Context, name string) (*node, error) {
	t.walk.mu.Lock()
	defer t.walk.mu.Unlock()
	p, rest := t.reach(name)
	for rest != "" {
		if err := p.n.unfold(ctx); err != nil {
			return nil, err
		}
		if p.n.children == nil {
			p.n.children = map[string]*node{}
		}
		if part, _, _ := strings.Cut(rest, "/"); p.n.children[part] == nil {
			p.n.children[part] = &node{}
		}
		p, rest = t.reach(name)
	}
	return p.n, nil
}

// join is path.Join of two clean names, however long: most of a plan's names are
// made so, and those of a deep tree are long.
func join(dir, name string) string {
	switch {
	case dir == ".":
		return name
	case name == ".":
		return dir
	default:
		return dir + "/" + name
	}
}

// dirOf is path.Dir of a clean name.
func dirOf(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "."
	}
	return name[:i]
}
