package tree

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// makeHardlink links to a file of this layer or copies one of a lower layer: a
// tree on its own shares no file with another.
func (a *applier) makeHardlink(n node) error {
	target := n.e.Linkname
	err := a.linkTo(n, target)
	if errors.Is(err, unix.ENOENT) {
		err = a.copyLower(n, target)
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	return nil
}

// linkTo makes the link inside the layer; ENOENT says that the layer has no
// such file. A whiteout is none: what a layer hides can be linked to.
func (a *applier) linkTo(n node, target string) error {
	from, err := a.dirs.find(path.Dir(target))
	if errors.Is(err, unix.ENOTDIR) {
		return unix.ENOENT
	}
	if err != nil {
		return err
	}
	defer from.release()
	base := path.Base(target)
	a.pipe.settle(fileKey{from.ino, base})
	st, err := statAt(from.fd, base)
	switch {
	case err != nil:
		return err
	case isWhiteout(st):
		return unix.ENOENT
	case isDir(st):
		return errors.New("is a directory")
	case from.ino == n.parent.ino && base == n.base:
		return errors.New("links to itself")
	}
	err = a.place(n.parent, n.base, func() error {
		return unix.Linkat(from.fd, base, n.parent.fd, n.base, 0)
	})
	if errors.Is(err, unix.EMLINK) {
		err = a.copyFile(n, &lowerFile{fd: from.fd, name: base}, st)
	}
	if err == nil && isLink(st) {
		a.borrow(n, a.borrowed[from.child(base)])
	}
	return err
}

// copyLower copies the file that the lower trees show under the name target,
// which may lie behind a symbolic link to a directory.
func (a *applier) copyLower(n node, target string) error {
	low, err := a.lowerTrees()
	if err != nil {
		return err
	}
	st, at, err := low.find(target)
	if errors.Is(err, unix.ENOENT) {
		dir, rerr := layer.Resolve(a.ctx, low, path.Dir(target), true)
		if rerr != nil {
			return rerr
		}
		st, at, err = low.find(path.Join(dir, path.Base(target)))
	}
	if errors.Is(err, unix.ENOENT) {
		return errors.New("no such file in the layer or below it")
	}
	if err != nil {
		return err
	}
	defer at.release()
	if err := a.copyFile(n, at, st); err != nil {
		return err
	}
	if isLink(st) {
		a.borrow(n, true)
	}
	return nil
}

func (a *applier) borrow(n node, borrowed bool) {
	name := n.parent.child(n.base)
	if delete(a.borrowed, name); borrowed {
		a.borrowed[name] = true
	}
}

// copyFile copies a file with its own metadata, which is what a link shows.
func (a *applier) copyFile(n node, at *lowerFile, st *unix.Stat_t) error {
	e, err := a.o.Form.entry(at.fd, at.name, st)
	if err != nil {
		return err
	}
	e.Name = n.e.Name
	n.e, n.m = e, statMeta(&e, st)
	switch e.Type {
	case layer.Directory:
		return errors.New("is a directory")
	case layer.Regular:
		if a.copied += e.Size; a.copied > a.o.MaxBytes {
			return fmt.Errorf("hard links copy more than %d bytes of lower layers", a.o.MaxBytes)
		}
		f, err := at.openFile()
		if err != nil {
			return err
		}
		defer f.Close()
		return a.make(n, f)
	}
	return a.make(n, nil)
}
