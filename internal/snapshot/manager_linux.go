package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// tempPrefix begins the names of managers' temporary directories.
const tempPrefix = "trees-"

// Manager makes trees and snapshots in one store. It is safe for concurrent use.
type Manager struct {
	// Limits bounds the layers that are unpacked. It is set before the first use.
	Limits layer.Limits

	dir     *cache.Dir
	flavour Flavour
	trees   string       // where the finished trees of this flavour are
	temp    *Temp        // everything this manager has not finished
	method  atomic.Int32 // how overlays were mounted last
}

// NewManager opens the trees of a store. It removes what managers of processes
// that are dead have left behind.
func NewManager(dir *cache.Dir, flavour Flavour) (*Manager, error) {
	m := &Manager{dir: dir, flavour: flavour, trees: filepath.Join(dir.TreesPath(), string(flavour))}
	if err := os.MkdirAll(m.trees, 0o700); err != nil {
		return nil, fmt.Errorf("trees of the store: %w", err)
	}
	var err error
	if m.temp, err = OpenTemp(dir, tempPrefix, nil); err != nil {
		return nil, err
	}
	return m, m.makeGrounds()
}

// RemainsOfTrees tells whether managers of dead processes have left something that
// NewManager or SweepTrees removes.
func RemainsOfTrees(dir *cache.Dir) bool { return Remains(dir, tempPrefix) }

// SweepTrees removes what NewManager does.
func SweepTrees(dir *cache.Dir) error { return Sweep(dir, tempPrefix, nil) }

// form is what package tree calls a flavour.
func (f Flavour) form() tree.Form {
	switch f {
	case Trusted:
		return tree.Trusted
	case Owned:
		return tree.Owned
	}
	return tree.User
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

func (m *Manager) ground(g Ground) string { return filepath.Join(m.temp.Path, "ground-"+string(g)) }

// Close removes everything that is not a finished tree. Snapshots must have
// been closed.
func (m *Manager) Close() error { return m.temp.Close() }

// How says how trees are made into snapshots, as far as it is known from the last.
func (m *Manager) How() string {
	attributes := "user.overlay.*"
	if m.flavour == Trusted {
		attributes = "trusted.overlay.*"
	}
	return hows[m.method.Load()] + ", attributes " + attributes
}

// Temp is where the manager has what is not finished. It goes with the manager.
func (m *Manager) Temp() *Temp { return m.temp }
