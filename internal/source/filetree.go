package source

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/ocibuild/ocibuild/layer"
)

// fileTree is a tree of one file in its root.
type fileTree struct {
	entry layer.Entry
	open  func() (io.ReadCloser, error)
}

// Lookup implements layer.Tree.
func (t *fileTree) Lookup(_ context.Context, name string) (layer.Entry, error) {
	switch name {
	case ".":
		return layer.Entry{Name: ".", Type: layer.Directory, Mode: 0o755, ModTime: t.entry.ModTime}, nil
	case t.entry.Name:
		return t.entry, nil
	}
	return layer.Entry{}, notExist(name)
}

// ReadDir implements layer.Tree.
func (t *fileTree) ReadDir(_ context.Context, name string) ([]layer.Entry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "read directory", Path: name, Err: errNotDirectory}
	}
	return []layer.Entry{t.entry}, nil
}

// Open implements layer.Tree.
func (t *fileTree) Open(_ context.Context, e layer.Entry) (io.ReadCloser, error) {
	if e.Name != t.entry.Name {
		return nil, notExist(e.Name)
	}
	r, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, cause(err))
	}
	return r, nil
}
