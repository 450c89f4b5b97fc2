package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
	"github.com/ocibuild/ocibuild/layer"
)

// flats are trees where no overlay can be mounted.
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

// openFlat opens flat trees, after it has shown that the store's file system can
// hold them.
func (s *server) openFlat(g *greeting) (*kept.Manager, error) {
	if err := probeFiles(s.dir, s.owned); err != nil {
		return nil, err
	}
	m, err := kept.NewManager(s.dir, s.owned, func(l snapshot.Layer) *layer.Layer { return known(s.store, l) })
	if err != nil {
		return nil, err
	}
	m.Limits = g.Limits
	s.trees, s.temp = flats{m}, m.Temp()
	s.how = "flat trees, compared file by file"
	return m, nil
}

// openFlatMounted opens flat trees for a mode that has mounts, and shows that a step
// runs in them. why is what speaks against overlays.
func (s *server) openFlatMounted(g *greeting, why error) error {
	m, err := s.openFlat(g)
	if err == nil {
		if err = s.try(context.Background(), binfmt.Program(runtime.GOARCH), nil); err != nil {
			err = errors.Join(err, m.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("%w; nor do flat trees work: %w", why, err)
	}
	s.how += ": overlays do not work on the store's file system"
	return nil
}

// known is what the store has of a layer: its table of contents, and its blob if
// it is known where that is.
func known(store *faces.Store, l snapshot.Layer) *layer.Layer {
	c := cache.Layer{DiffID: l.DiffID, MediaType: l.MediaType}
	if fi, err := os.Stat(l.Blob); err == nil {
		c.Digest, c.Size = digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(l.Blob)), fi.Size()
	}
	return store.Local(c)
}

// probeFiles shows that the store's file system can hold the files of an image.
func probeFiles(store *cache.Dir, owned bool) error {
	dir, err := store.TempDir("files-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	for _, p := range abilities {
		if p.owners && owned { // in attributes, which are probed already
			continue
		}
		if err := p.try(dir, file); err != nil {
			return fmt.Errorf("the file system of the store %s keeps no %s (%w): put the store on another one", store.Path(), p.what, err)
		}
	}
	return nil
}

// abilities are what a file system has to be able to do, each with a file in a folder.
var abilities = []struct {
	what   string
	owners bool
	try    func(dir, file string) error
}{
	{"owners", true, func(_, file string) error {
		var st unix.Stat_t
		err := errors.Join(os.Lchown(file, 1, 2), unix.Lstat(file, &st))
		if err == nil && (st.Uid != 1 || st.Gid != 2) {
			err = errors.New("a file that is given to 1:2 belongs to somebody else")
		}
		return err
	}},
	{"modes", false, func(_, file string) error {
		var st unix.Stat_t
		err := errors.Join(unix.Chmod(file, 0o4751), unix.Lstat(file, &st))
		if err == nil && st.Mode&0o7777 != 0o4751 {
			err = fmt.Errorf("a file of mode 4751 has %04o", st.Mode&0o7777)
		}
		return err
	}},
	{"symbolic links", false, func(dir, _ string) error { return os.Symlink("nowhere", filepath.Join(dir, "symlink")) }},
	{"hard links", false, func(dir, file string) error { return os.Link(file, filepath.Join(dir, "link")) }},
	{"names that differ in case", false, func(dir, _ string) error { return os.Mkdir(filepath.Join(dir, "FILE"), 0o700) }},
}
