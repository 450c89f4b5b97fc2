package layer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// makeHardlink links to a file of this layer or copies one of a lower layer: a
// tree on its own shares no file with another.
func (a *applier) makeHardlink(n node) error {
	target, err := cleanName(n.h.Linkname)
	if err == nil && target == "." {
		err = errors.New("is the root")
	}
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", quoteName(n.h.Linkname), err)
	}
	err = a.linkTo(n, target)
	if errors.Is(err, unix.ENOENT) {
		err = a.copyLower(n, target)
	}
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", quoteName(target), err)
	}
	return nil
}

// linkTo makes the link inside the layer; ENOENT says that the layer has no
// such file.
func (a *applier) linkTo(n node, target string) error {
	dir, base := splitName(target)
	from, err := a.dirs.open(dir)
	if errors.Is(err, unix.ENOTDIR) {
		return unix.ENOENT
	}
	if err != nil {
		return err
	}
	defer from.release()
	a.pipe.settle(fileKey{from.ino, base})
	st, err := statAt(from.fd, base)
	switch {
	case err != nil:
		return err
	case isWhiteout(st):
		return errors.New("the layer removes that file")
	case isDir(st):
		return errors.New("is a directory")
	case from.ino == n.parent.ino && base == n.base:
		return errors.New("links to itself")
	}
	err = a.place(n.parent, n.base, func() error {
		return unix.Linkat(from.fd, base, n.parent.fd, n.base, 0)
	})
	if errors.Is(err, unix.EMLINK) {
		return a.copyFile(n, &lowerFile{fd: from.fd, name: base}, st)
	}
	return err
}

func (a *applier) copyLower(n node, target string) error {
	low, err := a.lowerTrees()
	if err != nil {
		return err
	}
	st, at, err := low.find(target)
	if err != nil {
		return err
	}
	defer at.release()
	return a.copyFile(n, at, st)
}

// copyFile copies a file with its own metadata, which is what a link shows.
func (a *applier) copyFile(n node, at *lowerFile, st *unix.Stat_t) error {
	m, err := metaOf(at, st)
	if err != nil {
		return err
	}
	n.m = m
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		to, err := readlinkAt(at.fd, at.name)
		if err != nil {
			return err
		}
		h := *n.h
		h.Linkname = to
		n.h = &h
		return a.makeSymlink(n)
	case unix.S_IFREG:
	default:
		return errors.New("is no regular file")
	}
	f, err := at.openFile()
	if err != nil {
		return err
	}
	defer f.Close()
	if a.bytes += st.Size; a.bytes > a.o.MaxBytes {
		return fmt.Errorf("layer holds more than %d bytes", a.o.MaxBytes)
	}
	h := *n.h
	h.Size = st.Size
	n.h = &h
	return a.makeFile(n, f)
}
