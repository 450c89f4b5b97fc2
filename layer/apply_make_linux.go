package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// node is an entry on its way into the tree.
type node struct {
	h      *tar.Header
	name   string
	parent *dirHandle
	base   string
	m      *meta
}

func (n node) key() fileKey { return fileKey{n.parent.ino, n.base} }

// make creates what one entry describes, in place of what was there before.
func (a *applier) make(n node, content io.Reader) error {
	switch n.h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		if strings.HasSuffix(n.h.Name, "/") {
			return a.makeDirectory(n) // as old tars wrote directories
		}
		return a.makeFile(n, content)
	case tar.TypeDir:
		return a.makeDirectory(n)
	case tar.TypeSymlink:
		return a.makeSymlink(n)
	case tar.TypeLink:
		return a.makeHardlink(n)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return a.makeSpecial(n)
	}
	return fmt.Errorf("unknown entry type %q", n.h.Typeflag)
}

// place runs create and, where another file is in the way, removes that first.
func (a *applier) place(parent *dirHandle, base string, create func() error) error {
	a.pipe.settle(fileKey{parent.ino, base})
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := a.remove(parent, base); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	return create()
}

// remove takes away what an earlier entry of the layer made.
func (a *applier) remove(parent *dirHandle, base string) error {
	st, err := statAt(parent.fd, base)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := a.pipe.wait(); err != nil {
			return err
		}
		a.dirs.flush()
	case unix.S_IFLNK:
		a.dirs.flush()
	}
	return removeAt(parent.fd, base)
}

func (a *applier) makeFile(n node, content io.Reader) error {
	if n.h.Size <= maxPiped {
		// A writer replaces files, but only this goroutine knows which names
		// lead through a directory or a link.
		if st, err := statAt(n.parent.fd, n.base); err == nil && (isDir(st) || isLink(st)) {
			if err := a.remove(n.parent, n.base); err != nil {
				return fmt.Errorf("replace: %w", err)
			}
		}
		return a.pipe.write(n, content)
	}
	var fd int
	err := a.place(n.parent, n.base, func() (err error) {
		fd, err = createFile(n.parent.fd, n.base)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := a.copyTo(fd, content, n.h.Size); err != nil {
		return err
	}
	return finishFile(fd, n)
}

func createFile(at int, base string) (int, error) {
	return unix.Openat(at, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}

func finishFile(fd int, n node) error {
	if err := n.m.applyFd(fd); err != nil {
		return err
	}
	return unix.UtimesNanoAt(n.parent.fd, n.base, []unix.Timespec{n.m.mtime, n.m.mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

func (a *applier) copyTo(fd int, content io.Reader, size int64) error {
	for size > 0 {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		k, err := io.ReadFull(content, a.buf[:min(size, int64(len(a.buf)))])
		if err != nil {
			return fmt.Errorf("read content: %w", err)
		}
		if err := writeAll(fd, a.buf[:k]); err != nil {
			return err
		}
		size -= int64(k)
	}
	return nil
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		k, err := unix.Write(fd, p)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write: %w", err)
		}
		p = p[max(k, 0):]
	}
	return nil
}

func (a *applier) makeDirectory(n node) error {
	a.pipe.settle(n.key())
	err := a.mkdir(n.parent, n.base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		err = a.keepOrReplace(n)
	}
	if err != nil {
		return err
	}
	fd, err := openDir(n.parent.fd, n.base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	delete(a.implied, n.name)
	a.times[n.name] = n.m.mtime
	return n.m.applyFd(fd)
}

// keepOrReplace keeps a directory that is there already, with what is in it.
func (a *applier) keepOrReplace(n node) error {
	st, err := statAt(n.parent.fd, n.base)
	switch {
	case err != nil:
		return err
	case isDir(st):
		return nil
	case isWhiteout(st):
		return a.replaceWhiteout(n.parent, n.base)
	}
	return a.place(n.parent, n.base, func() error { return a.mkdir(n.parent, n.base, 0o700) })
}

func (a *applier) mkdir(parent *dirHandle, base string, mode uint32) error {
	err := unix.Mkdirat(parent.fd, base, mode)
	if err != nil || mode == 0o700 {
		return err
	}
	return unix.Fchmodat(parent.fd, base, mode, 0) // whatever the umask says
}

// replaceWhiteout makes a directory where the layer hides a name of lower
// layers: a directory that shows nothing of them.
func (a *applier) replaceWhiteout(parent *dirHandle, base string) error {
	if err := unix.Unlinkat(parent.fd, base, 0); err != nil {
		return err
	}
	if err := a.mkdir(parent, base, 0o755); err != nil {
		return err
	}
	return a.setOpaque(parent.fd, base)
}

func (a *applier) setOpaque(at int, name string) error {
	key := overlayXattr(a.o.UserXattr, "opaque")
	if err := unix.Lsetxattr(procPath(at, name), key, []byte("y"), 0); err != nil {
		return fmt.Errorf("set attribute %s: %w", key, err)
	}
	return nil
}

func (a *applier) makeSymlink(n node) error {
	if n.h.Linkname == "" || strings.IndexByte(n.h.Linkname, 0) >= 0 {
		return fmt.Errorf("symbolic link to %s", quoteName(n.h.Linkname))
	}
	err := a.place(n.parent, n.base, func() error {
		return unix.Symlinkat(n.h.Linkname, n.parent.fd, n.base)
	})
	if err != nil {
		return err
	}
	return n.m.applyAt(n.parent.fd, n.base, true)
}

func (a *applier) makeSpecial(n node) error {
	kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[n.h.Typeflag]
	var rdev uint64
	if kind != unix.S_IFIFO {
		if n.h.Devmajor < 0 || n.h.Devmajor > 1<<12-1 || n.h.Devminor < 0 || n.h.Devminor > 1<<20-1 {
			return fmt.Errorf("device %d:%d is out of range", n.h.Devmajor, n.h.Devminor)
		}
		rdev = unix.Mkdev(uint32(n.h.Devmajor), uint32(n.h.Devminor))
	}
	if kind == unix.S_IFCHR && rdev == 0 {
		return errors.New("device 0:0 is overlayfs's whiteout, not a file of an image")
	}
	err := a.place(n.parent, n.base, func() error {
		err := unix.Mknodat(n.parent.fd, n.base, kind|0o600, int(rdev))
		if errors.Is(err, unix.EPERM) {
			var fd int
			if fd, err = createFile(n.parent.fd, n.base); err == nil {
				err = unix.Close(fd)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return n.m.applyAt(n.parent.fd, n.base, false)
}

// whiteout hides what lower layers have. What this layer itself holds stays,
// wherever in the tar the whiteout comes.
func (a *applier) whiteout(kind whiteoutType, dir, base string) error {
	switch kind {
	case otherMeta:
		return nil
	case badWhiteout:
		return errors.New("whiteout without a name")
	case hiddenParent:
		return errors.New("lies in a directory that is named like a whiteout")
	}
	parent, err := a.dirs.get(dir)
	if err != nil {
		return err
	}
	defer parent.release()
	if kind == hidesAll {
		return a.setOpaque(parent.fd, ".")
	}
	base = strings.TrimPrefix(base, whPrefix)
	a.pipe.settle(fileKey{parent.ino, base})
	err = unix.Mknodat(parent.fd, base, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	st, err := statAt(parent.fd, base)
	if err != nil || !isDir(st) {
		return err
	}
	return a.setOpaque(parent.fd, base)
}
