package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// borrow is cache for a rung on which a directory can be at one place only: it
// is the step's alone, and other steps wait for it whatever they asked for.
func (a *attacher) borrow(ctx context.Context, name string, m Mount) (sandbox.Mount, error) {
	if _, twice := a.caches[name]; twice {
		return sandbox.Mount{}, fmt.Errorf("cache %q: isolation chroot can show a cache to a step at one place only", m.CacheID)
	}
	var err error
	if m.Sharing == SharingPrivate {
		name, err = a.unused(name)
	} else {
		err = a.lock(ctx, name)
	}
	if err != nil {
		return sandbox.Mount{}, err
	}
	path := filepath.Join(a.s.dir.MountsPath(), name)
	if err := removeLost(path); err != nil {
		return sandbox.Mount{}, fmt.Errorf("cache %q: %w", m.CacheID, err)
	}
	source, err := a.openCache(ctx, path, m)
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("cache %q: %w", m.CacheID, err)
	}
	if a.caches == nil {
		a.caches = map[string]string{}
	}
	a.caches[name] = source
	return sandbox.Mount{Type: sandbox.Bind, Source: source}, nil
}

// removeLost makes room for a new cache where a step has removed the directory.
func removeLost(path string) error {
	_, err := os.Lstat(filepath.Join(path, cacheDir))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(path)
}
