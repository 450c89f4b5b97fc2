package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// attachers prepare the kinds of mounts: one file and one row each.
var attachers = map[MountType]func(*attacher, context.Context, Mount) (sandbox.Mount, error){
	MountBind:   (*attacher).bind,
	MountCache:  (*attacher).cache,
	MountTmpfs:  (*attacher).tmpfs,
	MountSecret: (*attacher).secret,
	MountSSH:    (*attacher).ssh,
	MountHost:   (*attacher).host,
}

// attacher prepares the mounts of one step and puts them away after it.
type attacher struct {
	s    *server
	kept changes // where mounts with Keep are left
	undo []func() error
	// caches are the directories of cache mounts, by their name.
	caches map[string]string
}

func (a *attacher) attach(ctx context.Context, m Mount) (sandbox.Mount, error) {
	do := attachers[m.Type]
	if do == nil {
		return sandbox.Mount{}, errors.New("unknown type of mount")
	}
	sm, err := do(a, ctx, m)
	sm.Target = m.Target
	return sm, err
}

func (a *attacher) later(f func() error) { a.undo = append(a.undo, f) }

func (a *attacher) detach() error {
	var errs []error
	for _, f := range slices.Backward(a.undo) {
		errs = append(errs, f())
	}
	a.undo = nil
	return errors.Join(errs...)
}

// tree makes a tree of layers that nobody writes to.
func (a *attacher) tree(ctx context.Context, layers []snapshot.Layer) (string, error) {
	at, snap, err := a.s.trees.prepare(ctx, layers, snapshot.Bare)
	if err != nil {
		return "", err
	}
	a.later(snap.Close)
	return at, nil
}

// choose opens the path selector as if root were the root of the file system,
// so that no link in it leads out.
func choose(root, selector string) (*os.File, error) {
	dir, err := inroot.OpenRoot(root, "the source")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := inroot.Open(dir.FD(), "/"+selector, unix.O_PATH, inroot.Within)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", selector, err)
	}
	return os.NewFile(uintptr(fd), selector), nil
}

// pin binds an open file or directory to a path of its own: the sandbox is
// another process and cannot use our descriptors. Where nothing can be mounted
// it is the path that the file has.
func (a *attacher) pin(f *os.File) (string, error) {
	if a.s.wholes != nil {
		return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	dir, err := a.s.temp.Dir("pin")
	if err != nil {
		return "", err
	}
	a.later(func() error { return os.RemoveAll(dir) })
	path := filepath.Join(dir, "source")
	if st.IsDir() {
		err = os.Mkdir(path, 0o700)
	} else {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return "", err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind: %w", err)
	}
	a.later(func() error { return unix.Unmount(path, unix.MNT_DETACH) })
	return path, nil
}

func isRoot(selector string) bool { return strings.Trim(filepath.Clean("/"+selector), "/") == "" }
