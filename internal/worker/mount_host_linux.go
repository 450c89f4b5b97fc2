package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// host shows a path of this machine, read-only: what a build needs of it (a CA
// bundle, a package manager's configuration) it only reads.
func (a *attacher) host(_ context.Context, m Mount) (sandbox.Mount, error) {
	if !filepath.IsAbs(m.Source) {
		return sandbox.Mount{}, fmt.Errorf("host path %q is not absolute", m.Source)
	}
	// Resolved now and for good: the sandbox mounts what it is given.
	source, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("host path: %w", err)
	}
	if _, err := os.Stat(source); err != nil {
		return sandbox.Mount{}, fmt.Errorf("host path: %w", err)
	}
	return sandbox.Mount{Type: sandbox.Bind, Source: source, ReadOnly: true}, nil
}

// maxReplaceable is the size of the largest file of this machine that a step gets a
// copy of. Certificates and settings are smaller; what is larger is mounted.
const maxReplaceable = 16 << 20

// replaceable tells whether a host path is a file that a step may replace, as
// packages do with theirs.
func replaceable(source string) bool {
	fi, err := os.Stat(source)
	return err == nil && fi.Mode().IsRegular() && fi.Size() <= maxReplaceable && unix.Access(source, unix.R_OK) == nil
}

// shower is a tree that can show files without mounts.
type shower interface {
	Show(files []snapshot.Shown, others []string) (rest []snapshot.Shown, err error)
}

// showFiles has the tree show the files of this machine that a step may replace, and
// returns the mounts that are left.
func showFiles(t tree, mounts []Mount) ([]Mount, error) {
	show, ok := t.(shower)
	if !ok {
		return mounts, nil
	}
	var files []snapshot.Shown
	var others []string
	shown := map[snapshot.Shown]bool{}
	place := func(m Mount) snapshot.Shown {
		source, err := filepath.EvalSymlinks(m.Source)
		if m.Type != MountHost || err != nil || !filepath.IsAbs(source) || !replaceable(source) {
			return snapshot.Shown{}
		}
		return snapshot.Shown{Source: source, Target: m.Target}
	}
	for _, m := range mounts {
		f := place(m)
		if f.Source == "" {
			others = append(others, m.Target)
			continue
		}
		files, shown[f] = append(files, f), true
	}
	if len(files) == 0 {
		return mounts, nil
	}
	rest, err := show.Show(files, others)
	for _, f := range rest {
		delete(shown, f)
	}
	return slices.DeleteFunc(slices.Clone(mounts), func(m Mount) bool { return m.Type == MountHost && shown[place(m)] }), err
}
