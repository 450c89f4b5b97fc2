package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/local"
	"github.com/ocibuild/ocibuild/layer"
)

// checkout unpacks the commit into a private directory.
func (c *Checkout) checkout(ctx context.Context, bare string, at *revision) (*tree, error) {
	dir, err := c.private()
	if err != nil {
		return nil, err
	}
	in := call{workTree: filepath.Join(dir, "work"), gitDir: filepath.Join(dir, "git")}
	if c.keepsGit() {
		in.gitDir = filepath.Join(in.workTree, ".git")
	}
	if err := c.prepare(ctx, in, bare, at); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, in, "checkout", "--quiet", "--force", "--detach", at.object+"^{commit}", "--"); err != nil {
		return nil, err
	}
	if err := c.submodules(ctx, in); err != nil {
		return nil, err
	}
	when := c.git.Now
	if c.op.CommitTime {
		if when, err = c.commitTime(ctx, in, at); err != nil {
			return nil, err
		}
	}
	if err := c.tidy(in); err != nil {
		return nil, err
	}
	if err := onlyDirs(in.workTree, c.op.Subdir); err != nil {
		return nil, err
	}
	files, err := local.Open(filepath.Join(in.workTree, filepath.FromSlash(c.op.Subdir)), nil, nil, nil)
	if err != nil {
		return nil, err
	}
	return &tree{Dir: files, when: when.Unix()}, nil
}

// prepare makes a repository for the checkout, so that what submodules and
// .gitattributes do cannot reach the one that other builds use. It borrows the
// objects of that one; a .git that stays has its own.
func (c *Checkout) prepare(ctx context.Context, in call, bare string, at *revision) error {
	if err := os.MkdirAll(in.workTree, 0o755); err != nil {
		return err
	}
	if _, err := c.run(ctx, in, initArgs(len(at.object) == 64)...); err != nil {
		return err
	}
	remote, _ := graph.WithoutUser(c.op.Remote)
	if _, err := c.run(ctx, in, "remote", "add", "--", "origin", remote); err != nil {
		return err
	}
	if c.keepsGit() {
		return c.own(ctx, in, bare, at)
	}
	alternates := filepath.Join(in.gitDir, "objects", "info")
	if err := os.MkdirAll(alternates, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(alternates, "alternates"), []byte(filepath.Join(bare, "objects")+"\n"), 0o644); err != nil {
		return err
	}
	shallow, err := cache.ReadRegular(filepath.Join(bare, "shallow"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(in.gitDir, "shallow"), shallow, 0o644)
}

// own copies the commit out of the store's repository, under its own name.
func (c *Checkout) own(ctx context.Context, in call, bare string, at *revision) error {
	spec := kept(at)
	if at.ref != "" {
		spec += ":" + at.ref
	}
	in.local = true
	_, err := c.run(ctx, in, "fetch", "--quiet", "--update-head-ok", "--no-tags", "--depth=1", "--", "file://"+bare, spec)
	return err
}

// submodules fetches submodules from wherever .gitmodules says, with the same
// protocols as the repository itself.
func (c *Checkout) submodules(ctx context.Context, in call) error {
	info, err := os.Lstat(filepath.Join(in.workTree, ".gitmodules"))
	if c.op.SkipSubmodules || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New(".gitmodules is not a file")
	}
	in.remote = true
	if _, err = c.run(ctx, in, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"); err != nil {
		return fmt.Errorf("submodules: %w", err)
	}
	return nil
}

func (c *Checkout) commitTime(ctx context.Context, in call, at *revision) (time.Time, error) {
	out, err := c.run(ctx, in, "log", "-1", "--format=%ct", "--end-of-options", at.object+"^{commit}")
	if err != nil {
		return time.Time{}, err
	}
	s, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	return time.Unix(s, 0), err
}

// tidy removes what git keeps for itself: all of it, or, of a .git that stays,
// what tells of this checkout and not of the commit.
func (c *Checkout) tidy(in call) error {
	if c.keepsGit() {
		for _, name := range []string{"FETCH_HEAD", "ORIG_HEAD", "logs"} {
			if err := os.RemoveAll(filepath.Join(in.gitDir, name)); err != nil {
				return err
			}
		}
		return nil
	}
	root, err := os.OpenRoot(in.workTree)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != ".git" {
			return err
		}
		if err := root.RemoveAll(name); err != nil || !d.IsDir() {
			return err
		}
		return fs.SkipDir
	})
}

// onlyDirs makes sure that a subdirectory is one, and no link to elsewhere.
func onlyDirs(work, subdir string) error {
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	defer root.Close()
	at := "."
	for part := range strings.SplitSeq(subdir, "/") {
		if part == "" {
			continue
		}
		at = path.Join(at, part)
		info, err := root.Lstat(filepath.FromSlash(at))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it has no directory %s", at)
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("subdirectory %s: %s is not a directory", subdir, at)
		}
	}
	return nil
}

// tree shows a checkout as every machine has it: what git does not record
// (owners, most of the mode, times) does not depend on this one.
type tree struct {
	*local.Dir
	when int64
}

// Lookup implements layer.Tree.
func (t *tree) Lookup(ctx context.Context, name string) (layer.Entry, error) {
	e, err := t.Dir.Lookup(ctx, name)
	return t.plain(e), err
}

// ReadDir implements layer.Tree.
func (t *tree) ReadDir(ctx context.Context, name string) ([]layer.Entry, error) {
	entries, err := t.Dir.ReadDir(ctx, name)
	for i := range entries {
		entries[i] = t.plain(entries[i])
	}
	return entries, err
}

func (t *tree) plain(e layer.Entry) layer.Entry {
	e.ModTime, e.Xattrs, e.Inode = t.when, nil, ""
	switch {
	case e.Type == layer.Directory, e.Type == layer.Regular && e.Mode&0o100 != 0:
		e.Mode = 0o755
	case e.Type == layer.Regular:
		e.Mode = 0o644
	}
	return e
}

// Modified tells when the commit was made. It fetches the commit unless the
// store has it, but checks nothing out.
func (c *Checkout) Modified(ctx context.Context) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.resolve(ctx)
	if err != nil {
		return time.Time{}, c.failed(err)
	}
	bare, err := c.fetch(ctx, at)
	if err != nil {
		return time.Time{}, c.failed(err)
	}
	t, err := c.commitTime(ctx, call{gitDir: bare}, at)
	if err != nil {
		return time.Time{}, c.failed(err)
	}
	return t, nil
}
