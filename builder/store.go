package builder

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// storeSink keeps the result in the local store.
type storeSink struct{ dir *cache.Dir }

func (s *storeSink) Layer(context.Context, *layer.Layer) error { return nil }

func (s *storeSink) Write(ctx context.Context, r *Result) error {
	eg, ctx := errgroup.WithContext(ctx)
	for _, img := range r.Images {
		for _, l := range img.Layers {
			eg.Go(func() error {
				_, err := l.Blob(ctx)
				return err
			})
		}
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	var docs [][]byte
	for _, img := range r.Images {
		docs = append(docs, img.Config, img.Manifest)
	}
	if r.Index != nil {
		docs = append(docs, r.Index)
	}
	for _, doc := range docs {
		if err := s.dir.PutBytes(digest.FromBytes(doc), doc); err != nil {
			return err
		}
	}
	for _, name := range r.Names {
		if err := s.dir.Tag(name, r.Descriptor); err != nil {
			return fmt.Errorf("tag %s: %w", name, err)
		}
	}
	return nil
}
