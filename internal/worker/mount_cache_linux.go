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

	"github.com/ocibuild/ocibuild/internal/filelock"
	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// cacheDir is the mounted directory inside that of a cache mount, whose time
// says when it was used last.
const cacheDir = "fs"

// cache shows a directory of the store that outlives the step. A step has a
// cache once, however often it mounts it: it would wait for its own lock.
func (a *attacher) cache(ctx context.Context, m Mount) (sandbox.Mount, error) {
	name := cacheName(m.CacheID)
	if m.Seed != "" {
		name += "-" + cacheName(m.Seed)[:16]
	}
	if a.s.owned {
		name += "-owned" // its files say nothing to steps that do not look at attributes
	}
	if a.s.wholes != nil {
		return a.borrow(ctx, name+"-chroot", m)
	}
	id := name
	if source, ok := a.caches[id]; ok {
		return sandbox.Mount{Type: sandbox.Bind, Source: source, ReadOnly: m.ReadOnly}, nil
	}
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
	source, err := a.openCache(ctx, filepath.Join(a.s.dir.MountsPath(), name), m)
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("cache %q: %w", m.CacheID, err)
	}
	if a.caches == nil {
		a.caches = map[string]string{}
	}
	a.caches[id] = source
	return sandbox.Mount{Type: sandbox.Bind, Source: source, ReadOnly: m.ReadOnly}, nil
}

func cacheName(id string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(id))) }

// openCache makes the directory if it is not there, and holds it: another
// process may give the cache a new one any time, by which this one loses its
// name but not its files.
func (a *attacher) openCache(ctx context.Context, path string, m Mount) (string, error) {
	for {
		if err := a.makeCache(ctx, path, m); err != nil {
			return "", err
		}
		source, err := a.holdCache(path)
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			continue // it was renewed at this moment
		}
		now := time.Now()
		_ = os.Chtimes(path, now, now) // a lost mark of use costs at most a download
		return source, err
	}
}

// holdCache marks a directory as used until the step has ended, and returns a
// name for the files in it that stays.
func (a *attacher) holdCache(path string) (string, error) {
	dir, err := filelock.LockDir(path, true)
	if err != nil {
		return "", err
	}
	if dir == nil { // it is being removed at this moment
		return "", &os.PathError{Op: "lock", Path: path, Err: fs.ErrNotExist}
	}
	a.later(dir.Close)
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d/%s", dir.File.Fd(), cacheDir))
	if err != nil {
		return "", err
	}
	defer f.Close()
	return a.pin(f)
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
	tmp, err := a.s.temp.Dir("cache")
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
	if err := a.s.chown(dir, uid, gid); err != nil {
		return err
	}
	// Not os.Chmod, whose mode has other bits for sticky and set-id.
	if err := unix.Chmod(dir, mode); err != nil {
		return err
	}
	err = os.Rename(tmp, path)
	if errors.Is(err, unix.EXDEV) {
		err = errors.Join(moveFar(ctx, tmp, path), os.RemoveAll(tmp))
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return os.RemoveAll(tmp) // another step was faster
	}
	return err
}

// moveFar moves a new cache to where caches lie on a file system of their own.
func moveFar(ctx context.Context, from, to string) error {
	near, err := os.MkdirTemp(filepath.Dir(to), outdated+"new-*") // by which name it is swept if we die
	if err != nil {
		return err
	}
	dir, err := filelock.LockDir(near, true)
	if err == nil && dir == nil {
		err = &os.PathError{Op: "lock", Path: near, Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := copyTree(ctx, from, near); err != nil {
		return err
	}
	return os.Rename(near, to)
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
	uid, gid, err := a.s.ownerOf(int(f.Fd()), &st)
	if err != nil {
		return nil, err
	}
	st.Uid, st.Gid = uint32(uid), uint32(gid)
	from, err := a.pin(f)
	if err != nil {
		return nil, err
	}
	return &st, copyTree(ctx, from, dir)
}
