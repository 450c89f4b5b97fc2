package web

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

func missing(name string) error {
	return &fs.PathError{Op: "look up", Path: name, Err: fs.ErrNotExist}
}

// Lookup implements layer.Tree.
func (t *fileTree) Lookup(_ context.Context, name string) (layer.Entry, error) {
	switch name {
	case ".":
		return layer.Entry{Name: ".", Type: layer.Directory, Mode: 0o755}, nil
	case t.entry.Name:
		return t.entry, nil
	}
	return layer.Entry{}, missing(name)
}

// ReadDir implements layer.Tree.
func (t *fileTree) ReadDir(_ context.Context, name string) ([]layer.Entry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "read directory", Path: name, Err: fmt.Errorf("not a directory: %w", fs.ErrNotExist)}
	}
	return []layer.Entry{t.entry}, nil
}

// Open implements layer.Tree.
func (t *fileTree) Open(_ context.Context, e layer.Entry) (io.ReadCloser, error) {
	if e.Name != t.entry.Name {
		return nil, missing(e.Name)
	}
	r, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	return r, nil
}
