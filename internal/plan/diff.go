package plan

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strings"

	"github.com/ocibuild/ocibuild/layer"
)

// WriteDiff writes what upper changes of lower: what is new or other in upper,
// whiteouts for what only lower has, and the directories above them. Either may
// be nil for an empty tree. Files of which everything is known to be equal, the
// times and the content too, are the same.
func WriteDiff(ctx context.Context, lower, upper layer.Tree, w *layer.Writer) error {
	d := &differ{lower: lower, upper: upper, w: w, links: map[string]string{}}
	return d.dir(ctx, ".", lower != nil, upper != nil)
}

type differ struct {
	lower, upper layer.Tree
	w            *layer.Writer
	pending      []layer.Entry     // directories above, not written yet
	links        map[string]string // the name under which an inode was written
}

// dir compares a directory that either or both trees have.
func (d *differ) dir(ctx context.Context, name string, inLower, inUpper bool) error {
	below, err := children(ctx, d.lower, name, inLower)
	if err != nil {
		return err
	}
	above, err := children(ctx, d.upper, name, inUpper)
	if err != nil {
		return err
	}
	for len(below)+len(above) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		order := -1
		switch {
		case len(below) == 0:
		case len(above) == 0:
			order = 1
		default:
			order = strings.Compare(above[0].Name, below[0].Name)
		}
		switch {
		case order < 0:
			err = d.added(ctx, above[0])
			above = above[1:]
		case order > 0:
			err = d.add(ctx, layer.Entry{Name: below[0].Name, Type: layer.Whiteout})
			below = below[1:]
		default:
			err = d.both(ctx, below[0], above[0])
			above, below = above[1:], below[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func children(ctx context.Context, t layer.Tree, name string, there bool) ([]layer.Entry, error) {
	if !there {
		return nil, nil
	}
	list, err := t.ReadDir(ctx, name)
	if errors.Is(err, fs.ErrNotExist) && name == "." {
		return nil, nil
	}
	return list, err
}

// both compares what both trees have under one name.
func (d *differ) both(ctx context.Context, below, above layer.Entry) error {
	switch {
	case above.Type != layer.Directory:
		if same(below, above) {
			return nil
		}
		return d.add(ctx, above)
	case below.Type != layer.Directory:
		return d.added(ctx, above)
	case !same(below, above):
		if err := d.add(ctx, above); err != nil {
			return err
		}
		return d.dir(ctx, above.Name, true, true)
	}
	d.pending = append(d.pending, above)
	depth := len(d.pending)
	err := d.dir(ctx, above.Name, true, true)
	if len(d.pending) >= depth { // nothing in it was written
		d.pending = d.pending[:depth-1]
	}
	return err
}

// added writes what only the upper tree has.
func (d *differ) added(ctx context.Context, e layer.Entry) error {
	if err := d.add(ctx, e); err != nil || e.Type != layer.Directory {
		return err
	}
	return d.dir(ctx, e.Name, false, true)
}

// add writes an entry of the upper tree after the directories above it.
func (d *differ) add(ctx context.Context, e layer.Entry) error {
	for _, dir := range d.pending {
		if err := d.write(ctx, dir); err != nil {
			return err
		}
	}
	d.pending = d.pending[:0]
	return d.write(ctx, e)
}

func (d *differ) write(ctx context.Context, e layer.Entry) error {
	e.Opaque = false
	if first := d.links[e.Inode]; e.Inode != "" && first != "" {
		e.Type, e.Linkname, e.Size = layer.Hardlink, first, 0
		return d.w.Add(e, nil)
	}
	if e.Inode != "" {
		d.links[e.Inode] = e.Name
	}
	if e.Type != layer.Regular {
		return d.w.Add(e, nil)
	}
	r, err := d.upper.Open(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	return d.w.Add(e, r)
}

// same tells that two entries are known to be equal.
func same(a, b layer.Entry) bool {
	return a.Type == b.Type && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Size == b.Size &&
		a.ModTime == b.ModTime && a.Linkname == b.Linkname && a.Devmajor == b.Devmajor && a.Devminor == b.Devminor &&
		maps.Equal(a.Xattrs, b.Xattrs) && (a.Type != layer.Regular || a.Digest == b.Digest && a.Digest != "")
}
