package kept

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// The names in the directory of a tree.
const (
	treeDir    = "fs"
	aboutFile  = "about.json"
	journal    = "journal"
	layerFiles = "layer-%d" // while they are unpacked
)

// about is what a waiting tree says of itself.
type about struct {
	// Token is another one each time: files are told apart by numbers that only
	// mean something in this very directory.
	Token  string           `json:"token"`
	Layers []snapshot.Layer `json:"layers"`
}

// Tree is a directory that nobody else uses. It is used by one goroutine at a
// time, and must be closed.
type Tree struct {
	m      *Manager
	dir    string
	layers []snapshot.Layer // what it holds, lowest first
	dirty  bool             // it may hold something else
	begun  stamp            // when Begin was through, by the clock of files
	put    bool             // things were put there, which has changed times
	base   *node            // what it held before it was dirty; nil if nobody has looked
	puts   []*put
	stubs  []*stub
	moved  []moved
	lent   *loan

	originals []string // of shown files
}

// Prepare returns a tree of layers, given lowest first. It takes one that waits,
// of these or of the lower ones of them, and unpacks the others over it. A
// [*MissingError] says that it needs more blobs for that.
func (m *Manager) Prepare(ctx context.Context, layers []snapshot.Layer) (*Tree, error) {
	for _, l := range layers {
		if err := l.DiffID.Validate(); err != nil {
			return nil, fmt.Errorf("diff ID %q: %w", l.DiffID, err)
		}
	}
	t, err := m.take(layers)
	if err != nil {
		return nil, err
	}
	rest := layers[len(t.layers):]
	t.learn(layers)
	if missing := without(rest); missing != nil {
		return nil, errors.Join(&MissingError{missing}, t.Close())
	}
	if len(rest) > 0 {
		t.dirty, t.base = true, nil
		if err := t.unpack(ctx, rest); err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.dirty, t.layers = false, append(t.layers, rest...)
	}
	return t, nil
}

func without(layers []snapshot.Layer) []digest.Digest {
	var missing []digest.Digest
	for _, l := range layers {
		if l.Blob == "" {
			missing = append(missing, l.DiffID)
		}
	}
	return missing
}

// take takes the waiting tree that has most of the layers, or makes an empty one.
func (m *Manager) take(layers []snapshot.Layer) (*Tree, error) {
	t := &Tree{m: m, dir: m.temp.Name("tree")}
	for k := len(layers); k > 0; k-- {
		err := os.Rename(m.path(layers[:k]), t.dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EXDEV) { // in a lower layer of an overlay
			continue
		}
		if err != nil {
			return nil, err
		}
		if t.read(layers[:k]) {
			return t, nil
		}
		if err := os.RemoveAll(t.dir); err != nil { // damaged
			return nil, err
		}
	}
	return t, t.makeEmpty()
}

// read reads what the tree says of itself, and tells whether it is what it should
// be: the tree of those layers.
func (t *Tree) read(layers []snapshot.Layer) bool {
	data, err := cache.ReadRegular(filepath.Join(t.dir, aboutFile))
	var a about
	same := func(a, b snapshot.Layer) bool { return a.DiffID == b.DiffID }
	if err != nil || json.Unmarshal(data, &a) != nil || !slices.EqualFunc(a.Layers, layers, same) {
		return false
	}
	t.layers = a.Layers
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.base = t.m.listings[a.Token]
	delete(t.m.listings, a.Token)
	return true
}

// makeEmpty makes the tree of no layers: its root is like one that no layer
// describes.
func (t *Tree) makeEmpty() error {
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(t.Root(), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(t.Root(), 0o755); err != nil { // whatever the umask
		return err
	}
	return unix.UtimesNano(t.Root(), make([]unix.Timespec, 2))
}

// learn keeps the blobs of layers that it was not told of before.
func (t *Tree) learn(layers []snapshot.Layer) {
	for i := range t.layers {
		if layers[i].Blob != "" {
			t.layers[i] = layers[i]
		}
	}
}

// Root is the directory that holds the layers.
func (t *Tree) Root() string { return filepath.Join(t.dir, treeDir) }

// Begin looks at all files, for Diff to know what they were.
func (t *Tree) Begin(ctx context.Context) error {
	if t.base == nil {
		var err error
		if t.base, err = scan(ctx, t.Root(), t.m.form); err != nil {
			return fmt.Errorf("look at the tree before the step: %w", err)
		}
	}
	t.begun = t.base.settle()
	return nil
}

// Change is Begin, if what is changed is to be kept, and Spoil.
func (t *Tree) Change(ctx context.Context, keep bool) error {
	if keep {
		if err := t.Begin(ctx); err != nil {
			return err
		}
	}
	t.Spoil()
	return nil
}

// Spoil tells that from here on the tree may be changed: it is not given to
// others any more, unless it is adopted.
func (t *Tree) Spoil() { t.dirty = true }

// settle waits until the clock of files is past all of them, and returns what it
// shows: what is changed in the same tick would have the same time.
func (n *node) settle() (now stamp) {
	newest := n.newest()
	for range 50 { // a file of the future changes to the present
		var ts unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts)
		if now = (stamp{int64(ts.Sec), int64(ts.Nsec)}); err != nil || now.after(newest) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return now
}

// Diff ends the step and writes what it changed to w. Nothing may be running in
// the tree any more. It leaves the tree as a layer would show it: what the layer
// leaves out is removed, and modification times are whole seconds.
func (t *Tree) Diff(ctx context.Context, w *layer.Writer) error {
	if err := t.Restore(); err != nil {
		return err
	}
	if t.base == nil {
		return errors.New("the tree is not ready to be compared")
	}
	after, err := scan(ctx, t.Root(), t.m.form)
	if err != nil {
		return fmt.Errorf("look at the tree after the step: %w", err)
	}
	for _, m := range t.moved {
		m.forgive(t.base)
	}
	d := newDiffer(ctx, t, w)
	again, err := d.run(t.base, after)
	if err != nil {
		return fmt.Errorf("changes of the step: %w", err)
	}
	t.base = after
	if again {
		t.base = nil
	}
	return nil
}

// Adopt makes the tree, as Diff has left it, that of its layers and the one that
// the changes are, and lets it wait there. It returns the path of the files.
func (t *Tree) Adopt(diffID digest.Digest) (string, error) {
	if err := diffID.Validate(); err != nil {
		return "", fmt.Errorf("diff ID %q: %w", diffID, err)
	}
	t.layers = append(t.layers, snapshot.Layer{DiffID: diffID})
	t.dirty = false
	path := t.m.path(t.layers)
	if err := t.wait(); err != nil {
		return "", fmt.Errorf("keep the tree of %s: %w", diffID, err)
	}
	return filepath.Join(path, treeDir), nil
}

// wait lets the tree wait for whoever needs it next.
func (t *Tree) wait() error {
	a := about{Token: rand.Text(), Layers: t.layers}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(t.dir, aboutFile), data, 0o600); err != nil {
		return err
	}
	now := time.Now()
	if err := os.Chtimes(t.dir, now, now); err != nil {
		return err
	}
	if t.base != nil {
		t.m.mu.Lock()
		t.m.listings[a.Token] = t.base
		t.m.mu.Unlock()
	}
	return place(t.dir, t.m.path(t.layers))
}

// Close lets the tree wait for another user if it was not changed, and removes it
// otherwise. It may be called more than once, and after Adopt.
func (t *Tree) Close() error {
	err := t.endLoan()
	if err == nil {
		err = t.Restore()
	}
	if err != nil {
		t.dirty = true
	}
	if _, serr := os.Lstat(t.dir); errors.Is(serr, fs.ErrNotExist) {
		return err
	}
	if t.put {
		t.base = nil
	}
	if t.dirty || len(t.layers) == 0 {
		return errors.Join(err, os.RemoveAll(t.dir))
	}
	return errors.Join(err, t.wait())
}
