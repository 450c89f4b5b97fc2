package plan

import (
	"context"
	"errors"
	"io"

	"github.com/ocibuild/ocibuild/layer"
)

// sparseFile is a sparse file of an archive, as a tree of that one file. Its
// layer holds it with its holes: most programs read no sparse layers.
type sparseFile struct {
	raw      io.ReaderAt
	at, size int64
}

// Lookup implements layer.Tree.
func (s sparseFile) Lookup(context.Context, string) (layer.Entry, error) {
	return layer.Entry{Type: layer.Regular, Size: s.size}, nil
}

// ReadDir implements layer.Tree.
func (s sparseFile) ReadDir(context.Context, string) ([]layer.Entry, error) {
	return nil, errors.New("a file is not a directory")
}

// Open implements layer.Tree.
func (s sparseFile) Open(context.Context, layer.Entry) (io.ReadCloser, error) {
	r, err := layer.OpenSparse(s.raw, s.at, s.size)
	return io.NopCloser(r), err
}
