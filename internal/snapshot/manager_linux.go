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

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
)

// tempPrefix begins the names of managers' temporary directories.
const tempPrefix = "trees-"

// Manager makes trees and snapshots in one store. It is safe for concurrent use.
type Manager struct {
	dir     *cache.Dir
	flavour Flavour
	trees   string   // where the finished trees of this flavour are
	temp    string   // everything this manager has not finished
	lock    *os.File // temp, locked for as long as this process lives
	next    atomic.Int64
	method  atomic.Int32 // how overlays were mounted last
}

// NewManager opens the trees of a store. It removes what managers of processes
// that are dead have left behind.
func NewManager(dir *cache.Dir, flavour Flavour) (*Manager, error) {
	m := &Manager{dir: dir, flavour: flavour, trees: filepath.Join(dir.TreesPath(), string(flavour))}
	if err := os.MkdirAll(m.trees, 0o700); err != nil {
		return nil, fmt.Errorf("trees of the store: %w", err)
	}
	// The lock of all managers: none may be swept between being made and locked.
	unlock, err := dir.Lock(context.Background(), "temporary trees")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := sweep(filepath.Join(dir.Path(), "tmp")); err != nil {
		return nil, fmt.Errorf("remove what a dead process left: %w", err)
	}
	if m.temp, err = dir.TempDir(tempPrefix + "*"); err != nil {
		return nil, fmt.Errorf("temporary directory: %w", err)
	}
	if m.lock, err = lockDir(m.temp); err != nil {
		return nil, fmt.Errorf("lock %s: %w", m.temp, err)
	}
	return m, m.makeGrounds()
}

// grounds are the places to mount on that each ground has.
var grounds = map[Ground][]string{
	Bare:      nil,
	Root:      {"proc", "sys", "dev"},
	Networked: {"proc", "sys", "dev", "etc/hosts", "etc/resolv.conf"},
}

func (m *Manager) makeGrounds() error {
	for g, places := range grounds {
		if err := os.Mkdir(m.ground(g), 0o755); err != nil {
			return err
		}
		for _, place := range places {
			if err := makePlace(filepath.Join(m.ground(g), place), filepath.Dir(place) == "."); err != nil {
				return err
			}
		}
	}
	return nil
}

func makePlace(path string, dir bool) error {
	if dir {
		return os.Mkdir(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}

func (m *Manager) ground(g Ground) string { return filepath.Join(m.temp, "ground-"+string(g)) }

// Close removes everything that is not a finished tree. Snapshots must have
// been closed.
func (m *Manager) Close() error {
	defer m.lock.Close()
	return os.RemoveAll(m.temp)
}

// TempDir makes a directory that goes with the manager at the latest.
func (m *Manager) TempDir(name string) (string, error) {
	p := filepath.Join(m.temp, fmt.Sprintf("%s-%d", name, m.next.Add(1)))
	return p, os.Mkdir(p, 0o700)
}

// lockDir takes the lock of a directory, or fails when it is taken.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes the temporary directories nobody holds the lock of.
func sweep(tmp string) error {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.IsDir() {
			continue
		}
		path := filepath.Join(tmp, e.Name())
		lock, err := lockDir(path)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = os.RemoveAll(path)
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
