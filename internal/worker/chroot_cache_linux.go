package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

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
	if err := a.recall(ctx, path); err != nil {
		return sandbox.Mount{}, fmt.Errorf("cache %q: %w", m.CacheID, err)
	}
	source, err := a.openCache(ctx, path, m)
	if err == nil {
		source, err = a.near(ctx, source)
	}
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("cache %q: %w", m.CacheID, err)
	}
	if a.caches == nil {
		a.caches = map[string]string{}
	}
	a.caches[name] = source
	return sandbox.Mount{Type: sandbox.Bind, Source: source}, nil
}

// recall brings back a directory that is still where a step of a dead worker had
// it. If a step has removed it, it makes room for a new one.
func (a *attacher) recall(ctx context.Context, path string) error {
	outer, err := filepath.EvalSymlinks(path) // as it was noted
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	source := filepath.Join(outer, cacheDir)
	there := func() bool { _, err := os.Lstat(source); return !errors.Is(err, fs.ErrNotExist) }
	if there() {
		return nil
	}
	if err := a.s.wholes.Recall(ctx, source); err != nil || there() {
		return err
	}
	return os.RemoveAll(path)
}

// near returns a directory that can be moved into a tree: source itself or, if the
// caches are on another file system, a copy, which takes its place afterwards.
func (a *attacher) near(ctx context.Context, source string) (string, error) {
	var st, temp unix.Stat_t
	if err := unix.Lstat(source, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: source, Err: err}
	}
	if err := unix.Lstat(a.s.temp.Path, &temp); err != nil {
		return "", &os.PathError{Op: "lstat", Path: a.s.temp.Path, Err: err}
	}
	if st.Dev == temp.Dev {
		return source, nil
	}
	dir := a.s.temp.Name("cache")
	a.later(func() error { return os.RemoveAll(dir) })
	if err := copyDir(ctx, source, dir, &st); err != nil {
		return "", err
	}
	a.later(func() error { return a.keepCopy(ctx, dir, source) })
	return dir, nil
}

// keepCopy puts a copy of a directory in the place of another one. What a step
// that was interrupted has left is not worth it.
func (a *attacher) keepCopy(ctx context.Context, dir, source string) error {
	var st unix.Stat_t
	if ctx.Err() != nil || unix.Lstat(dir, &st) != nil { // the step has removed it
		return nil
	}
	fresh, old := source+".new", source+".old"
	err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(old), copyDir(ctx, dir, fresh, &st))
	if err == nil {
		err = os.Rename(source, old)
	}
	if err == nil {
		err = os.Rename(fresh, source)
	}
	return errors.Join(err, os.RemoveAll(fresh), os.RemoveAll(old))
}

// copyDir copies a directory, of which st is known, and what is in it.
func copyDir(ctx context.Context, from, to string, st *unix.Stat_t) error {
	if err := copyFile(from, to, st); err != nil {
		return err
	}
	if err := copyTree(ctx, from, to); err != nil {
		return err
	}
	return setTime(to, st.Mtim)
}
