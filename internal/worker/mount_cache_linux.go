package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// cacheDir is the mounted directory inside that of a cache mount, whose time
// says when it was used last.
const cacheDir = "fs"

// cache shows a directory of the store that outlives the step.
func (a *attacher) cache(ctx context.Context, m Mount) (sandbox.Mount, error) {
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(m.CacheID)))
	var err error
	switch m.Sharing {
	case SharingShared, "":
	case SharingLocked:
		err = a.lock(ctx, name)
	case SharingPrivate:
		name, err = a.unused(name)
	default:
		err = fmt.Errorf("unknown sharing %q", m.Sharing)
	}
	if err != nil {
		return sandbox.Mount{}, err
	}
	path := filepath.Join(a.s.dir.MountsPath(), name)
	if err := a.makeCache(ctx, path, m); err != nil {
		return sandbox.Mount{}, fmt.Errorf("cache %q: %w", m.CacheID, err)
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // a lost mark of use costs at most a download
	return sandbox.Mount{Type: sandbox.Bind, Source: filepath.Join(path, cacheDir), ReadOnly: m.ReadOnly}, nil
}

func (a *attacher) lock(ctx context.Context, name string) error {
	unlock, err := a.s.dir.Lock(ctx, "mount "+name)
	if err != nil {
		return err
	}
	a.later(func() error { unlock(); return nil })
	return nil
}

// unused finds a directory for the cache that no other step has.
func (a *attacher) unused(name string) (string, error) {
	for i := range 1000 {
		try := name
		if i > 0 {
			try = fmt.Sprintf("%s-%d", name, i)
		}
		unlock, ok, err := a.s.dir.TryLock("mount " + try)
		if err != nil {
			return "", err
		}
		if ok {
			a.later(func() error { unlock(); return nil })
			return try, nil
		}
	}
	return "", errors.New("a thousand steps use the cache already")
}

// makeCache makes the directory if there is none. It is filled under another
// name, so that no step sees half of it.
func (a *attacher) makeCache(ctx context.Context, path string, m Mount) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	tmp, err := a.s.snaps.TempDir("cache")
	if err != nil {
		return err
	}
	dir := filepath.Join(tmp, cacheDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	uid, gid, mode := m.UID, m.GID, cmp.Or(m.Mode, 0o755)
	if len(m.Layers) > 0 {
		st, err := a.seed(ctx, dir, m)
		if err != nil {
			return err
		}
		uid, gid, mode = int(st.Uid), int(st.Gid), st.Mode&0o7777
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	// Not os.Chmod, whose mode has other bits for sticky and set-id.
	if err := unix.Chmod(dir, mode); err != nil {
		return err
	}
	err = os.Rename(tmp, path)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return os.RemoveAll(tmp) // another step was faster
	}
	return err
}

// seed fills a new cache with files of layers, and returns what the directory
// that they come from is like: the cache is to be like it.
func (a *attacher) seed(ctx context.Context, dir string, m Mount) (*unix.Stat_t, error) {
	root, err := a.tree(ctx, m.Layers)
	if err != nil {
		return nil, err
	}
	f, err := choose(root, m.Selector)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, fmt.Errorf("source %s is no directory", m.Selector)
	}
	from, err := a.pin(f)
	if err != nil {
		return nil, err
	}
	return &st, copyTree(ctx, from, dir)
}
