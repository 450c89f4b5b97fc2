package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// Snapshot is a writable tree over others. It is used by one goroutine at a
// time, and must be closed.
type Snapshot struct {
	m       *Manager
	dir     string
	lowers  []string
	mounted []string // where, the lowest first

	given  []string // lowers and ground, as Prepare got them
	ground Ground
	shown  *shown    // nil for none
	made   time.Time // by the clock of the file system
}

// Prepare mounts a writable directory over trees, the lowest first, which lie
// on the ground g.
func (m *Manager) Prepare(ctx context.Context, lowers []string, g Ground) (*Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := m.temp.Dir("snapshot")
	if err != nil {
		return nil, err
	}
	s := &Snapshot{m: m, dir: dir}
	if err := s.mount(lowers, g); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %d layers: %w", len(lowers), err), s.Close())
	}
	return s, nil
}

func (s *Snapshot) mount(lowers []string, g Ground) error {
	// The work directory is new each time: one that was mounted volatile
	// cannot be mounted again.
	for _, name := range []string{treeDir, "work"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil {
			return err
		}
	}
	fi, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	s.made = fi.ModTime()
	visible, err := tree.PrepareUpper(s.Upper(), distinct(lowers), s.m.flavour.form())
	if err != nil {
		return err
	}
	s.lowers, s.given, s.ground = visible, lowers, g
	all := append([]string{s.m.ground(g)}, visible...)
	if s.shown != nil {
		all = append(all, s.shown.dir)
	}
	o := overlay{lowers: all, upper: s.Upper(), work: filepath.Join(s.dir, "work"), user: s.m.flavour != Trusted}
	if len(o.lowers) > maxLowers {
		if err := s.mountBelow(&o); err != nil {
			return err
		}
	}
	return s.mountOverlay(&o, s.Root())
}

// mountBelow makes an overlay of the lowest directories, and that the lowest one of
// o. None but the lowest may be an overlay itself: it does not show what its own
// layers hide of those below it.
func (s *Snapshot) mountBelow(o *overlay) error {
	if err := os.Mkdir(s.below(), 0o755); err != nil {
		return err
	}
	n := len(o.lowers) - maxLowers + 1
	if err := s.mountOverlay(&overlay{lowers: o.lowers[:n], user: o.user}, s.below()); err != nil {
		return fmt.Errorf("the lowest %d: %w", n, err)
	}
	o.lowers = append([]string{s.below()}, o.lowers[n:]...)
	return nil
}

func (s *Snapshot) below() string { return filepath.Join(s.dir, "below") }

func (s *Snapshot) mountOverlay(o *overlay, target string) error {
	method, err := o.mount(target, int(s.m.method.Load()))
	if err != nil {
		return err
	}
	s.m.method.Store(int32(method))
	s.mounted = append(s.mounted, target)
	return nil
}

// distinct leaves a tree that lies there several times only its highest place:
// overlayfs takes no directory twice, and lower down it shows nothing that it does
// not show there.
func distinct(trees []string) []string {
	var kept []string
	for i, t := range trees {
		if !slices.Contains(trees[i+1:], t) {
			kept = append(kept, t)
		}
	}
	return kept
}

// Root is the mounted directory. It covers the work directory, which nobody else
// is to look into anyway: one directory less to make and to remove.
func (s *Snapshot) Root() string { return filepath.Join(s.dir, "work") }

// Upper is the directory that holds the changes.
func (s *Snapshot) Upper() string { return filepath.Join(s.dir, treeDir) }

// Diff ends the use of Root and writes what was changed in it to w. Nothing may
// be running in it any more.
func (s *Snapshot) Diff(ctx context.Context, w *layer.Writer) error {
	// Not while it is mounted: pruning changes what the overlay believes in.
	if err := s.unmount(); err != nil {
		return err
	}
	if err := s.forget(); err != nil {
		return err
	}
	return tree.Diff(ctx, s.Upper(), s.lowers, w, tree.DiffOptions{Form: s.m.flavour.form(), Since: s.made, Prune: true})
}

// Adopt makes the changes, as Diff has left them, the tree of the layer that
// they are, and returns the tree's path.
func (s *Snapshot) Adopt(diffID digest.Digest) (string, error) {
	if err := diffID.Validate(); err != nil {
		return "", fmt.Errorf("diff ID %q: %w", diffID, err)
	}
	if err := s.unmount(); err != nil {
		return "", err
	}
	// Without its work directory a snapshot's directory is that of a tree.
	path := filepath.Join(s.m.trees, diffID.Encoded())
	err := errors.Join(os.RemoveAll(filepath.Join(s.dir, "work")), os.RemoveAll(s.below()))
	if err == nil {
		err = place(s.dir, path)
	}
	if err != nil {
		return "", fmt.Errorf("keep the tree of %s: %w", diffID, err)
	}
	return filepath.Join(path, treeDir), nil
}

// Close unmounts and removes the snapshot. It may be called more than once.
func (s *Snapshot) Close() error {
	if err := s.unmount(); err != nil {
		return err
	}
	return errors.Join(s.hide(), os.RemoveAll(s.dir))
}

func (s *Snapshot) unmount() error {
	for len(s.mounted) > 0 {
		last := len(s.mounted) - 1
		err := unix.Unmount(s.mounted[last], 0)
		if errors.Is(err, unix.EBUSY) {
			// Somebody holds a file open; the name must go all the same.
			err = unix.Unmount(s.mounted[last], unix.MNT_DETACH)
		}
		if err != nil {
			return &os.PathError{Op: "unmount", Path: s.mounted[last], Err: err}
		}
		s.mounted = s.mounted[:last]
	}
	return nil
}
