package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/filelock"
)

// Temp is a directory of the store for what one process has not finished. It is
// safe for concurrent use.
type Temp struct {
	Path string
	// Lock is the directory, open and locked. For as long as this process lives,
	// or one that has inherited it, nobody takes the directory for a dead one's.
	Lock *os.File

	lock *filelock.Dir
	next atomic.Int64
}

// OpenTemp makes a directory whose name begins with prefix. Those that dead
// processes have left it removes, after rescue has seen to them; nil is for none
// that need it.
func OpenTemp(dir *cache.Dir, prefix string, rescue func(path string) error) (*Temp, error) {
	// The lock of all of them: none may be swept between being made and locked.
	unlock, err := dir.Lock(context.Background(), "temporary trees")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := sweep(filepath.Join(dir.Path(), "tmp"), prefix, rescue); err != nil {
		return nil, fmt.Errorf("remove what a dead process left: %w", err)
	}
	// Without a number of the store's in its name: it has a lock of its own, which
	// steps inherit.
	path, err := os.MkdirTemp(filepath.Join(dir.Path(), "tmp"), prefix+"*")
	if err != nil {
		return nil, fmt.Errorf("temporary directory: %w", err)
	}
	lock, err := filelock.LockDir(path, false)
	if err == nil && lock == nil {
		err = errors.New("somebody else has locked it")
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Temp{Path: path, Lock: lock.File, lock: lock}, nil
}

// Sweep removes the directories of dead processes as OpenTemp does.
func Sweep(dir *cache.Dir, prefix string, rescue func(path string) error) error {
	unlock, err := dir.Lock(context.Background(), "temporary trees")
	if err != nil {
		return err
	}
	defer unlock()
	return sweep(filepath.Join(dir.Path(), "tmp"), prefix, rescue)
}

// Remains tells whether there is something for Sweep to do.
func Remains(dir *cache.Dir, prefix string) bool {
	tmp := filepath.Join(dir.Path(), "tmp")
	entries, _ := os.ReadDir(tmp) // unreadable: nothing can be done about it
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.IsDir() {
			continue
		}
		if lock, err := filelock.LockDir(filepath.Join(tmp, e.Name()), false); err == nil && lock != nil {
			_ = lock.Close()
			return true
		}
	}
	return false
}

// Name returns a path in the directory that nobody else is given.
func (t *Temp) Name(name string) string {
	return filepath.Join(t.Path, fmt.Sprintf("%s-%d", name, t.next.Add(1)))
}

// Dir makes a directory in the directory.
func (t *Temp) Dir(name string) (string, error) {
	p := t.Name(name)
	return p, os.Mkdir(p, 0o700)
}

// Close removes the directory.
func (t *Temp) Close() error {
	defer func() { _ = t.lock.Close() }()
	return os.RemoveAll(t.Path)
}

// sweep removes the temporary directories nobody holds the lock of.
func sweep(tmp, prefix string, rescue func(string) error) error {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.IsDir() {
			continue
		}
		if _, err := SweepOne(filepath.Join(tmp, e.Name()), rescue); err != nil {
			return err
		}
	}
	return nil
}

// SweepOne removes the directory of a Temp as OpenTemp does. It tells whether it
// is gone: not for as long as somebody holds its lock.
func SweepOne(path string, rescue func(string) error) (gone bool, err error) {
	lock, err := filelock.LockDir(path, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case lock == nil || err != nil:
		return false, err
	}
	defer func() { _ = lock.Close() }()
	if rescue != nil {
		err = rescue(path)
	}
	if err == nil {
		err = os.RemoveAll(path)
	}
	return err == nil, err
}
