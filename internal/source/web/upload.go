package web

import (
	"context"
	"encoding/json"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// Upload is a file that came as a stream, and is shown like one of the web.
type Upload struct {
	store *cache.Dir
	dgst  digest.Digest
	size  int64
	name  string
}

// NewUpload reads a stream to its end into the store.
func NewUpload(ctx context.Context, store *cache.Dir, in io.Reader) (*Upload, error) {
	blob, err := store.NewBlob()
	if err != nil {
		return nil, err
	}
	defer blob.Abort()
	if err := blob.Fill(ctx, in); err != nil {
		return nil, err
	}
	u := &Upload{store: store}
	u.dgst, u.size, err = blob.Commit()
	return u, err
}

// Digest returns the digest of the stream.
func (u *Upload) Digest() digest.Digest { return u.dgst }

// As returns the same file under a name.
func (u *Upload) As(name string) *Upload {
	v := *u
	v.name = safeName(name, "")
	return &v
}

// Pin names the content and the name.
func (u *Upload) Pin(context.Context) (string, error) {
	data, err := json.Marshal([]any{u.dgst, u.name})
	return string(data), err
}

// Ready tells that there is nothing to wait for.
func (u *Upload) Ready() bool { return true }

// Tree shows the file as the only one in the root of a tree.
func (u *Upload) Tree(context.Context) (layer.Tree, error) {
	e := layer.Entry{Name: u.name, Type: layer.Regular, Size: u.size, Mode: 0o600, Digest: u.dgst}
	return &fileTree{entry: e, open: func() (io.ReadCloser, error) { return u.store.OpenBlob(u.dgst) }}, nil
}
