package faces

import (
	"context"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// Unpacked tells whether a layer whose blob is gone can still be mounted: its tree
// is in the store, and nobody has missed the blob.
func (s *Store) Unpacked(l cache.Layer) bool { return !s.Dir.Missed(l.Digest) && s.hasTree(l.DiffID) }

func (s *Store) hasTree(diffID digest.Digest) bool {
	if diffID.Validate() != nil {
		return false
	}
	flavours, err := os.ReadDir(s.Dir.TreesPath())
	if err != nil {
		return false
	}
	for _, f := range flavours {
		if fi, err := os.Lstat(filepath.Join(s.Dir.TreesPath(), f.Name(), diffID.Encoded())); err == nil && fi.IsDir() {
			return true
		}
	}
	return false
}

// Release removes the blob of a layer that Create has made, only to be mounted,
// once it has a tree. One that was there before is not ours to remove.
func (s *Store) Release(ctx context.Context, l *layer.Layer) error {
	m, ok := l.Faces().(*making)
	if !ok {
		return nil
	}
	if err := m.wait(ctx); err != nil || !m.anew || !s.hasTree(l.DiffID) {
		return err
	}
	return s.Dir.RemoveBlob(m.blob.Descriptor.Digest)
}
