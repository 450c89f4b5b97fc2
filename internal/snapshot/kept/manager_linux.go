package kept

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
)

const (
	// prefix begins the names of managers' temporary directories.
	prefix = "kept-"
	// flavour is what the store calls trees of this kind.
	flavour = "kept"
	// idle is how many trees stay for the next build: each holds whole images.
	idle = 2
)

// Manager gives out trees of one store. It is safe for concurrent use.
type Manager struct {
	// Limits bounds the layers that are unpacked. It is set before the first use.
	Limits layer.Limits

	layer func(snapshot.Layer) *layer.Layer
	form  tree.Form
	trees string // where trees wait
	temp  *snapshot.Temp

	mu       sync.Mutex
	listings map[string]*node // of trees that this manager has put there, by their token
}

// NewManager opens the trees of a store, and returns what dead processes have
// borrowed. owned means that owners stand in attributes. layer says what is known of
// a layer; its blob may be unknown.
func NewManager(dir *cache.Dir, owned bool, layer func(snapshot.Layer) *layer.Layer) (*Manager, error) {
	m := &Manager{layer: layer, form: tree.User, listings: map[string]*node{}}
	name := flavour
	if owned {
		m.form, name = tree.Owned, flavour+"-"+string(snapshot.Owned)
	}
	m.trees = filepath.Join(dir.TreesPath(), name)
	if err := os.MkdirAll(m.trees, 0o700); err != nil {
		return nil, fmt.Errorf("trees of the store: %w", err)
	}
	var err error
	m.temp, err = snapshot.OpenTemp(dir, prefix, rescue)
	return m, err
}

// Sweep does for a store what NewManager does: where no manager of this kind is
// wanted, what dead processes have borrowed goes back all the same.
func Sweep(dir *cache.Dir) error { return snapshot.Sweep(dir, prefix, rescue) }

// Remains tells whether there is something for Sweep to do.
func Remains(dir *cache.Dir) bool { return snapshot.Remains(dir, prefix) }

// Temp is where this manager has what it has not finished. What is [Tree.Put]
// anywhere must come from its file system.
func (m *Manager) Temp() *snapshot.Temp { return m.temp }

// Close removes all but the trees that the next build is most likely to need.
// The trees given out must have been closed.
func (m *Manager) Close() error { return errors.Join(m.evict(), m.temp.Close()) }

// Has tells which of the layers, given lowest first, need no blob because a tree
// that has them waits. Somebody else may take it: then Prepare tells what it needs.
func (m *Manager) Has(layers []snapshot.Layer) []bool {
	has := make([]bool, len(layers))
	for k := len(layers); k > 0; k-- {
		if _, err := os.Lstat(m.path(layers[:k])); err == nil {
			for i := range k {
				has[i] = true
			}
			break
		}
	}
	return has
}

// path is where the tree of layers waits, when nobody has it.
func (m *Manager) path(layers []snapshot.Layer) string {
	h := sha256.New()
	for _, l := range layers {
		fmt.Fprintln(h, l.DiffID)
	}
	return filepath.Join(m.trees, fmt.Sprintf("%x", h.Sum(nil)))
}

// MissingError tells which blobs are needed after all.
type MissingError struct{ DiffIDs []digest.Digest }

// Error names the layers.
func (e *MissingError) Error() string {
	return fmt.Sprintf("the blobs of the layers %v are needed", e.DiffIDs)
}

// evict removes the trees that have waited longest.
func (m *Manager) evict() error {
	for {
		oldest, err := m.oldest()
		if err != nil || oldest == "" {
			return err
		}
		away := m.temp.Name("old") // out of everybody's sight first
		err = os.Rename(oldest, away)
		if errors.Is(err, fs.ErrNotExist) {
			continue // just taken
		}
		if errors.Is(err, unix.EXDEV) { // in a lower layer of an overlay, from where nobody takes it
			away, err = oldest, nil
		}
		if err != nil {
			return err
		}
		if err := os.RemoveAll(away); err != nil {
			return err
		}
	}
}

// oldest returns one tree too many, or "".
func (m *Manager) oldest() (string, error) {
	entries, err := os.ReadDir(m.trees)
	if err != nil || len(entries) <= idle {
		return "", err
	}
	var oldest string
	var since time.Time
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if oldest == "" || fi.ModTime().Before(since) {
			oldest, since = filepath.Join(m.trees, e.Name()), fi.ModTime()
		}
	}
	return oldest, nil
}

// place makes a directory wait under a name. If another tree of the same layers
// waits there already, that is as good.
func place(dir, path string) error {
	err := os.Rename(dir, path)
	if errors.Is(err, fs.ErrNotExist) { // all trees were removed, to make room
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.Rename(dir, path)
		}
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return os.RemoveAll(dir)
	}
	return err
}
