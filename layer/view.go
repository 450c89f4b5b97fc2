package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// View is the file tree that a list of layers shows when merged (image-spec,
// layer.md#applying-changesets). It reads tables of contents only, and of a
// layer's blob no more than what Open needs. It is a [Tree].
//
// A layer says what it shows of a name and whether it hides what lies below.
// Layers are asked from the top, and none is read below the one that answers.
type View struct {
	layers  []*Layer
	linkers []*TOC // of layers above these whose hard links lead into them
}

// NewView merges layers, the lowest first. Nothing is read before it is needed.
func NewView(layers []*Layer) *View { return &View{layers: layers} }

// Lookup implements Tree.
func (v *View) Lookup(ctx context.Context, name string) (Entry, error) {
	key := nameKey(name)
	implied := key == "" // the root is always there
	for l := range v.down(ctx) {
		if l.err != nil {
			return Entry{}, l.err
		}
		s := l.toc.see(key)
		if s.at >= 0 {
			flags, typ := l.toc.kind(s.at)
			if typ != Whiteout && (!implied || typ == Directory) {
				return v.show(ctx, l, s.at, flags)
			}
			break
		}
		implied = implied || s.implied
		if s.hides {
			break
		}
	}
	if implied {
		return impliedDir(key), nil
	}
	return Entry{}, notExist("lookup", name)
}

func notExist(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// level is one layer on the way down, and what the ones above it, and itself,
// say about hard links into lower layers.
type level struct {
	at      int
	layer   *Layer
	toc     *TOC
	err     error
	linkers []*TOC
}

// down yields the layers from the top, each read when it is its turn.
func (v *View) down(ctx context.Context) func(func(level) bool) {
	return func(yield func(level) bool) {
		linkers := v.linkers
		for i, layer := range slices.Backward(v.layers) {
			t, err := layer.TOC(ctx)
			if err != nil {
				err = fmt.Errorf("table of contents of layer %s: %w", layer, err)
			}
			if !yield(level{i, layer, t, err, linkers}) || err != nil {
				return
			}
			if len(t.outward) > 0 {
				linkers = append(slices.Clip(linkers), t)
			}
		}
	}
}

// show completes the entry at position at of a layer for the merged tree.
func (v *View) show(ctx context.Context, l level, at int, flags byte) (Entry, error) {
	e := l.toc.entry(at)
	e.layer = l.layer
	if e.Type == Hardlink {
		return v.resolveLink(ctx, l, at, e.Name)
	}
	linked := flags&flagLinked != 0
	for _, t := range l.linkers {
		linked = linked || t.linksTo(e.Name)
	}
	if linked && e.Type != Directory {
		e.Inode = inode(l.at, e.Name)
	}
	return e, nil
}

// inode names a file of the tree by the layer and the name that hold its content.
func inode(layer int, name string) string { return strconv.Itoa(layer) + ":" + name }

// resolveLink returns what the hard link at position at leads to, in its own
// layer or else in those below, under the link's own name.
func (v *View) resolveLink(ctx context.Context, l level, at int, name string) (Entry, error) {
	var e Entry
	end, target, ok := l.toc.followLinks(at)
	switch {
	case ok:
		e = l.toc.entry(end)
		e.layer, e.Inode = l.layer, inode(l.at, e.Name)
	case target != "":
		var err error
		if e, err = v.below(ctx, l, target); err != nil {
			return Entry{}, fmt.Errorf("hard link %s in layer %s: %w", quoteName(name), l.layer, err)
		}
	}
	if e.Type == 0 || e.Type == Directory {
		return Entry{}, fmt.Errorf("hard link %s in layer %s leads to no file", quoteName(name), l.layer)
	}
	e.Name = name
	return e, nil
}

// below looks for the target of a hard link of layer l in the layers below it;
// it may lie behind a symlink to a directory. What the layer itself hides does
// not count: it would matter in which order it says so.
func (v *View) below(ctx context.Context, l level, target string) (Entry, error) {
	lower := &View{layers: v.layers[:l.at], linkers: append(slices.Clip(l.linkers), l.toc)}
	e, err := lower.Lookup(ctx, target)
	if errors.Is(err, fs.ErrNotExist) {
		dir, rerr := Resolve(ctx, lower, path.Dir(target), true)
		real := childKey(nameKey(dir), path.Base(target))
		if rerr == nil && real != target {
			e, err = lower.Lookup(ctx, real)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Not wrapped: the link exists, so this is damage and no plain absence.
		return Entry{}, fmt.Errorf("target %s is in no layer", quoteName(target))
	}
	return e, err
}

// ReadDir implements Tree.
func (v *View) ReadDir(ctx context.Context, name string) ([]Entry, error) {
	key := nameKey(name)
	m := merge{view: v, seen: map[string]int{}}
	exists := key == ""
	for l := range v.down(ctx) {
		if l.err != nil {
			return nil, l.err
		}
		s := l.toc.see(key)
		if s.at >= 0 {
			if _, typ := l.toc.kind(s.at); typ != Directory {
				if typ != Whiteout && !exists {
					return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotDir}
				}
				break
			}
		}
		if s.at >= 0 || s.implied {
			exists = true
			if err := m.add(ctx, l, key); err != nil {
				return nil, err
			}
		}
		if s.hides {
			break
		}
	}
	if !exists {
		return nil, notExist("readdir", name)
	}
	return m.entries(), nil
}

var errNotDir = errors.New("not a directory")

// merge collects the children of one directory, the upper layers first.
type merge struct {
	view  *View
	found []Entry
	seen  map[string]int // nothing yet, or one of those below
}

const (
	seenImplied = iota + 1 // lower layers may know the directory's metadata
	seenFinal              // found, or hidden
)

func (m *merge) add(ctx context.Context, l level, dir string) error {
	for key, at := range l.toc.children(dir) {
		state := m.seen[key]
		if state == seenFinal {
			continue
		}
		if at < 0 {
			m.seen[key] = seenImplied
			continue
		}
		flags, typ := l.toc.kind(at)
		if typ == Whiteout || (state == seenImplied && typ != Directory) {
			if state == seenImplied {
				m.found = append(m.found, impliedDir(key))
			}
			m.seen[key] = seenFinal
			continue
		}
		e, err := m.view.show(ctx, l, at, flags)
		if err != nil {
			return err
		}
		m.found = append(m.found, e)
		m.seen[key] = seenFinal
	}
	return nil
}

func (m *merge) entries() []Entry {
	for key, state := range m.seen {
		if state == seenImplied {
			m.found = append(m.found, impliedDir(key))
		}
	}
	slices.SortFunc(m.found, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return m.found
}

// Open implements Tree.
func (v *View) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	if e.Type != Regular {
		return nil, &fs.PathError{Op: "open", Path: e.Name, Err: errors.New("not a regular file")}
	}
	if e.layer == nil {
		return nil, &fs.PathError{Op: "open", Path: e.Name, Err: errors.New("not an entry of this tree")}
	}
	if e.Size <= 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	raw, err := e.layer.Raw(ctx)
	if err != nil {
		return nil, fmt.Errorf("content of %s in layer %s: %w", quoteName(e.Name), e.layer, err)
	}
	r, err := Content(raw, e)
	if err != nil {
		return nil, fmt.Errorf("content of %s in layer %s: %w", quoteName(e.Name), e.layer, err)
	}
	return &content{r: r, left: e.Size}, nil
}

// content is one file in a tar. A tar that ends early is damage, not an end.
type content struct {
	r    io.Reader
	left int64
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *content) Close() error { return nil }

// Digest returns the digest of the content of a Regular entry of this view; it
// reads the content if the table of contents does not say it.
func (v *View) Digest(ctx context.Context, e Entry) (digest.Digest, error) {
	if e.Digest != "" {
		return e.Digest, nil
	}
	r, err := v.Open(ctx, e)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", fmt.Errorf("content of %s: %w", quoteName(e.Name), err)
	}
	return makeDigest(h.Sum(nil)), nil
}
