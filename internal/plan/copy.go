package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	mode "github.com/tonistiigi/dchapes-mode"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// Copy copies files of src into the tree.
func (t *Tree) Copy(ctx context.Context, src layer.Tree, op *graph.Copy, own *Owner) error {
	name, _ := clean(op.Src)
	if !op.CreateDestPath {
		if err := t.parentExists(ctx, op.Dest); err != nil {
			return err
		}
	}
	names := []string{name}
	if op.Wildcard {
		var err error
		if names, err = glob(ctx, src, name, op.FollowSymlink); err != nil {
			return err
		}
		if len(names) == 0 && !op.AllowEmpty {
			return fmt.Errorf("%q matches nothing", op.Src)
		}
	}
	c, err := t.copier(src, op, own)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.source(ctx, name); err != nil {
			return err
		}
	}
	return c.required(op)
}

// copier copies by the rules of one operation.
type copier struct {
	t        *Tree
	src      layer.Tree
	op       *graph.Copy
	own      *Owner
	at       *time.Time
	filter   *filter
	modes    *mode.Set
	links    map[string]*link
	pending  []pendingDir
	name     string // of the source, as it was asked for
	unpacked []dirTime
	above    above
	copied   map[string]bool // by names below that; nil if nothing is required
}

// pendingDir is a directory of the source that is made only if something in
// it is taken.
type pendingDir struct {
	entry  layer.Entry
	target string
	done   bool
}

func (t *Tree) copier(src layer.Tree, op *graph.Copy, own *Owner) (*copier, error) {
	c := &copier{t: t, src: src, op: op, own: own, at: timestamp(op.Timestamp)}
	if len(op.Required) > 0 {
		c.copied = map[string]bool{}
	}
	var err error
	if c.filter, err = newFilter(op.Include, op.Exclude); err != nil {
		return nil, err
	}
	if op.ModeStr != "" {
		set, err := mode.ParseWithUmask(op.ModeStr, 0)
		if err != nil {
			return nil, fmt.Errorf("mode %q: %w", op.ModeStr, err)
		}
		c.modes = &set
	}
	return c, nil
}

// source copies one source, which a wildcard may have named.
func (c *copier) source(ctx context.Context, name string) error {
	from, err := layer.Resolve(ctx, c.src, name, c.op.FollowSymlink)
	if err != nil {
		return err
	}
	e, err := c.src.Lookup(ctx, from)
	if errors.Is(err, fs.ErrNotExist) {
		return &NoSourceError{Path: "/" + name}
	}
	if err != nil {
		return err
	}
	if c.op.Unpack && e.Type == layer.Regular && !c.t.o.KeepArchives {
		if ok, err := c.unpack(ctx, e); ok || err != nil {
			return err
		}
	}
	target, err := c.target(ctx, e, path.Base(name))
	if err != nil {
		return err
	}
	c.name, c.links = name, map[string]*link{} // names of one file stay together within a source
	return c.copy(ctx, e, ".", target, verdict{take: true})
}

// target works out what a source is to be called, and makes the directories
// above it.
func (c *copier) target(ctx context.Context, e layer.Entry, base string) (string, error) {
	name, isDir := clean(c.op.Dest)
	parent := dirOf(name)
	if isDir {
		parent = name
	}
	if err := c.mkdirAll(ctx, parent); err != nil {
		return "", err
	}
	dst, err := c.t.resolve(ctx, name)
	if err != nil {
		return "", err
	}
	have, err := c.t.Lookup(ctx, dst)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	dir := e.Type == layer.Directory
	if !c.op.DirContents && dir && exists || !dir && exists && have.Type == layer.Directory {
		dst = join(dst, base)
	}
	above := dirOf(dst)
	if c.op.DirContents && dir && !exists {
		above = dst
	}
	return dst, c.mkdirAll(ctx, above)
}

func (c *copier) mkdirAll(ctx context.Context, name string) error {
	name, err := c.t.resolve(ctx, name)
	if err != nil {
		return err
	}
	perm := uint32(0o755)
	if c.op.Mode != -1 && c.modes == nil { // a symbolic mode needs one to start from
		perm = uint32(c.op.Mode) & 0o777
	}
	return c.t.mkdirAll(ctx, name, perm, c.own, c.at)
}

// copy copies e to target. rel is e's name relative to the source, which the
// patterns speak of.
func (c *copier) copy(ctx context.Context, e layer.Entry, rel, target string, parent verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := verdict{take: true}
	if rel != "." {
		var err error
		if v, err = c.filter.match(rel, parent); err != nil {
			return err
		}
	}
	if e.Type == layer.Directory {
		return c.dir(ctx, e, rel, target, v)
	}
	if !v.take {
		return nil
	}
	if err := c.flush(ctx, rel != "."); err != nil {
		return err
	}
	return c.file(ctx, e, rel, target)
}

func (c *copier) file(ctx context.Context, e layer.Entry, rel, target string) error {
	have, err := c.t.Lookup(ctx, target)
	if err == nil && have.Type == layer.Directory {
		if !c.op.ReplaceExisting {
			return fmt.Errorf("/%s is a directory, the file %q cannot replace it", target, "/"+e.Name)
		}
		if err := c.t.remove(ctx, target); err != nil {
			return err
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.t.touch(ctx, target, c.at); err != nil {
		return err
	}
	out := c.entry(e, target)
	n, err := c.t.put(ctx, out, content{tree: c.src, from: e.Name})
	if err != nil {
		return err
	}
	if e.Inode != "" {
		n.link = c.t.link(c.links, e.Inode)
	}
	c.took(rel)
	return nil
}

// took notes what is copied, if anything has to be.
func (c *copier) took(rel string) {
	if c.copied != nil {
		c.copied[join(c.name, rel)] = true
	}
}

func (c *copier) dir(ctx context.Context, e layer.Entry, rel, target string, v verdict) error {
	p := pendingDir{entry: e, target: target}
	if v.take {
		if err := c.flush(ctx, rel != "."); err != nil {
			return err
		}
		if err := c.makeDir(ctx, e, target, rel != "."); err != nil {
			return err
		}
		p.done = true
		if rel != "." || c.filter.include == nil {
			c.took(rel)
		}
	}
	if !c.filter.below(v) {
		return nil
	}
	if !c.takesAll(v) || !c.wholly(e.Name, target) {
		c.pending = append(c.pending, p)
		err := c.contents(ctx, e, rel, target, v)
		c.pending = c.pending[:len(c.pending)-1]
		if err != nil {
			return err
		}
	}
	if v.take { // one that waited for something in it keeps the time of that
		c.t.setTime(target, c.entry(e, target).ModTime)
	}
	return nil
}

// contents copies what is in a directory.
func (c *copier) contents(ctx context.Context, e layer.Entry, rel, target string, v verdict) error {
	entries, err := c.src.ReadDir(ctx, e.Name)
	if err != nil {
		return err
	}
	for _, child := range entries {
		base := path.Base(child.Name)
		if err := c.copy(ctx, child, join(rel, base), join(target, base), v); err != nil {
			return err
		}
	}
	return nil
}

// flush makes the directories that waited for something in them to be taken.
func (c *copier) flush(ctx context.Context, overwrite bool) error {
	for i := range c.pending {
		p := &c.pending[i]
		if p.done {
			continue
		}
		if err := c.makeParent(ctx, p.entry, p.target, overwrite && i > 0); err != nil {
			return err
		}
		p.done = true
	}
	return nil
}

// makeParent makes the copy of a directory that nothing but what is in it asks
// for. One that is there already takes the mode of the source, and only that.
func (c *copier) makeParent(ctx context.Context, e layer.Entry, target string, overwrite bool) error {
	have, err := c.t.Lookup(ctx, target)
	if err != nil || have.Type != layer.Directory || !overwrite {
		return c.makeDir(ctx, e, target, overwrite)
	}
	have.Name, have.Mode = target, e.Mode
	_, err = c.t.put(ctx, have, content{})
	return err
}

// makeDir makes the copy of a directory. A directory that is there already is
// merged; below the first one it also takes the mode, owner and times of the
// source.
func (c *copier) makeDir(ctx context.Context, e layer.Entry, target string, overwrite bool) error {
	out := c.entry(e, target)
	have, err := c.t.Lookup(ctx, target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := c.t.touch(ctx, target, c.at); err != nil {
			return err
		}
		return c.t.putNew(ctx, out)
	case err != nil:
		return err
	case have.Type != layer.Directory && !c.op.ReplaceExisting:
		return fmt.Errorf("/%s is not a directory, the directory %q cannot replace it", target, "/"+e.Name)
	case have.Type != layer.Directory:
		if err := c.t.remove(ctx, target); err != nil {
			return err
		}
		if err := c.t.touch(ctx, target, c.at); err != nil {
			return err
		}
		return c.t.putNew(ctx, out)
	case !overwrite:
		have.ModTime = out.ModTime
		out = have
	}
	_, err = c.t.put(ctx, out, content{})
	return err
}

// entry is what becomes of a source entry under its new name.
func (c *copier) entry(e layer.Entry, target string) layer.Entry {
	out := e
	out.Name, out.Inode, out.Opaque = target, "", false
	if target == "." {
		out.Name = "."
	}
	c.own.apply(&out)
	if c.at != nil || e.Timeless() {
		out.ModTime = c.t.time(c.at)
	}
	if e.Type != layer.Symlink {
		switch {
		case c.modes != nil:
			out.Mode = fromFileMode(c.modes.Apply(toFileMode(e)))
		case c.op.Mode != -1:
			out.Mode = uint32(c.op.Mode) & 0o7777
		}
	}
	return out
}

// required tells what was asked for by name and is not in the source. Of a
// directory it is enough that something in it is copied.
func (c *copier) required(op *graph.Copy) error {
	for _, name := range op.Required {
		name, _ := clean(name)
		if !c.copied[name] && !c.copiedBelow(name) {
			return fmt.Errorf("%q: not found", "/"+name)
		}
	}
	return nil
}

func (c *copier) copiedBelow(dir string) bool {
	for name := range c.copied {
		if dir == "." || strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

func (t *Tree) parentExists(ctx context.Context, dest string) error {
	name, _ := clean(dest)
	dst, err := t.resolve(ctx, name)
	if err != nil {
		return err
	}
	if _, err := t.Lookup(ctx, dirOf(dst)); err != nil {
		return fmt.Errorf("destination %q: %w", dest, err)
	}
	return nil
}
