package output

import (
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/ocibuild/ocibuild/layer"
)

// rootfs returns the files of a result: of one image its root, of an index a
// directory for each platform, "linux_arm64".
func rootfs(r *Result) layer.Tree {
	view := func(img *Image) layer.Tree {
		var t layer.Tree = layer.NewView(img.Layers)
		if r.Epoch != nil {
			t = dated{t, r.Epoch.Unix()}
		}
		return t
	}
	if r.Index == nil {
		return view(r.Images[0])
	}
	t := split{}
	for _, img := range r.Images {
		t[strings.ReplaceAll(platforms.Format(*img.Descriptor.Platform), "/", "_")] = view(img)
	}
	return t
}

// dated is a tree whose files are all of one time, in seconds since 1970.
type dated struct {
	layer.Tree
	at int64
}

// Lookup implements layer.Tree.
func (d dated) Lookup(ctx context.Context, name string) (layer.Entry, error) {
	e, err := d.Tree.Lookup(ctx, name)
	e.ModTime = d.at
	return e, err
}

// ReadDir implements layer.Tree.
func (d dated) ReadDir(ctx context.Context, name string) ([]layer.Entry, error) {
	list, err := d.Tree.ReadDir(ctx, name)
	list = slices.Clone(list)
	for i := range list {
		list[i].ModTime = d.at
	}
	return list, err
}

// split is a tree of trees, each in a directory of the root.
type split map[string]layer.Tree

// Lookup implements layer.Tree.
func (s split) Lookup(ctx context.Context, name string) (layer.Entry, error) {
	if name == "." {
		return layer.Entry{Name: ".", Type: layer.Directory, Mode: 0o755}, nil
	}
	dir, rest := cut(name)
	t, ok := s[dir]
	if !ok {
		return layer.NewView(nil).Lookup(ctx, name)
	}
	e, err := t.Lookup(ctx, rest)
	return moved(dir, e), err
}

// ReadDir implements layer.Tree.
func (s split) ReadDir(ctx context.Context, name string) ([]layer.Entry, error) {
	var out []layer.Entry
	if name == "." {
		for dir, t := range s {
			e, err := t.Lookup(ctx, ".")
			if err != nil {
				return nil, err
			}
			out = append(out, moved(dir, e))
		}
		slices.SortFunc(out, func(a, b layer.Entry) int { return strings.Compare(a.Name, b.Name) })
		return out, nil
	}
	dir, rest := cut(name)
	t, ok := s[dir]
	if !ok {
		return layer.NewView(nil).ReadDir(ctx, name)
	}
	list, err := t.ReadDir(ctx, rest)
	for _, e := range list {
		out = append(out, moved(dir, e))
	}
	return out, err
}

// Open implements layer.Tree.
func (s split) Open(ctx context.Context, e layer.Entry) (io.ReadCloser, error) {
	dir, rest := cut(e.Name)
	e.Name = rest
	return s[dir].Open(ctx, e)
}

func cut(name string) (dir, rest string) {
	dir, rest, _ = strings.Cut(name, "/")
	return dir, path.Clean(rest)
}

func moved(dir string, e layer.Entry) layer.Entry {
	e.Name = path.Join(dir, e.Name)
	if e.Inode != "" {
		e.Inode = dir + ":" + e.Inode
	}
	return e
}
