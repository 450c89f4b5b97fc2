package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
	"github.com/ocibuild/ocibuild/layer"
)

// flats are the trees where overlays cannot be mounted.
type flats struct{ *kept.Manager }

func (f flats) has(layers []snapshot.Layer) []bool { return f.Has(layers) }

func (f flats) close() error { return f.Close() }

func (f flats) prepare(ctx context.Context, layers []snapshot.Layer, _ snapshot.Ground) (string, tree, error) {
	t, err := f.Prepare(ctx, layers)
	if err != nil {
		return "", nil, err
	}
	return t.Root(), t, nil
}

// openFlat opens flat trees and checks that the store's file system can hold them.
func (s *server) openFlat(g *greeting) (*kept.Manager, error) {
	if err := probeFiles(s.dir, !s.owned); err != nil {
		return nil, err
	}
	m, err := s.newFlat(g)
	if err != nil {
		return nil, err
	}
	s.trees, s.temp = flats{m}, m.Temp()
	s.how = "flat trees, compared file by file"
	return m, nil
}

func (s *server) newFlat(g *greeting) (*kept.Manager, error) {
	m, err := kept.NewManager(s.dir, s.owned, func(l snapshot.Layer) *layer.Layer { return known(s.store, l) })
	if err == nil {
		m.Limits = g.Limits
	}
	return m, err
}

// lazyFlats are flat trees that are opened when the first one is needed.
type lazyFlats struct {
	open func() (*kept.Manager, error)

	mu sync.Mutex
	m  *kept.Manager
}

func (l *lazyFlats) manager() (*kept.Manager, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m != nil {
		return l.m, nil
	}
	m, err := l.open()
	if err == nil {
		l.m = m
	}
	return m, err
}

func (l *lazyFlats) has(layers []snapshot.Layer) []bool {
	m, err := l.manager()
	if err != nil {
		return make([]bool, len(layers)) // prepare returns the error
	}
	return m.Has(layers)
}

func (l *lazyFlats) prepare(ctx context.Context, layers []snapshot.Layer, g snapshot.Ground) (string, tree, error) {
	m, err := l.manager()
	if err != nil {
		return "", nil, err
	}
	return flats{m}.prepare(ctx, layers, g)
}

func (l *lazyFlats) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		return nil
	}
	return l.m.Close()
}

// openFlatMounted opens flat trees for a mode that has mounts, and runs a step in
// them. why is the error of overlays.
func (s *server) openFlatMounted(g *greeting, why error) error {
	m, err := s.openFlat(g)
	if program := binfmt.Program(runtime.GOARCH); err == nil && program != nil {
		if err = s.try(context.Background(), program, nil); err != nil {
			err = errors.Join(err, m.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("%w; flat trees: %w", why, err)
	}
	s.how += ": the store's file system does not support overlays"
	return nil
}

// known returns what the store has of a layer: its table of contents, and its blob
// if the path is known.
func known(store *faces.Store, l snapshot.Layer) *layer.Layer {
	c := cache.Layer{DiffID: l.DiffID, MediaType: l.MediaType}
	if fi, err := os.Stat(l.Blob); err == nil {
		c.Digest, c.Size = digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(l.Blob)), fi.Size()
	}
	return store.Local(c)
}
