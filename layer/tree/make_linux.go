package tree

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// node is an entry on its way into the tree.
type node struct {
	e      layer.Entry
	parent *dirHandle
	base   string
	m      *meta
	form   Form
}

func (n node) key() fileKey { return fileKey{n.parent.ino, n.base} }

// make creates what one entry describes, in place of what was there before.
func (a *applier) make(n node, content io.Reader) error {
	switch n.e.Type {
	case layer.Regular:
		return a.makeFile(n, content)
	case layer.Directory:
		return a.makeDirectory(n)
	case layer.Symlink:
		return a.makeSymlink(n)
	case layer.Hardlink:
		return a.makeHardlink(n)
	case layer.Whiteout:
		return a.makeWhiteout(n)
	}
	return a.makeSpecial(n)
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
	if n.e.Size <= maxPiped {
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
	if err := a.copyTo(fd, content, n.e.Size); err != nil {
		return err
	}
	return finishFile(fd, n)
}

func createFile(at int, base string) (int, error) {
	return unix.Openat(at, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}

func finishFile(fd int, n node) error {
	if err := n.m.applyFd(fd, n.form); err != nil {
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

// ownMode is the mode of a directory that gets its own at once.
const ownMode = 0o700

func (a *applier) makeDirectory(n node) error {
	a.pipe.settle(n.key())
	err := a.mkdir(n.parent, n.base, ownMode)
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
	name := n.parent.child(n.base)
	delete(a.implied, name)
	a.times[name] = n.m.mtime
	return a.describeDir(fd, name, n.m)
}

// keepOrReplace keeps a directory that is there already, with what is in it.
func (a *applier) keepOrReplace(n node) error {
	st, err := statAt(n.parent.fd, n.base)
	if err != nil || isDir(st) {
		return err
	}
	return a.replaceByDir(n.parent, n.base, ownMode)
}

func (a *applier) mkdir(parent *dirHandle, base string, mode uint32) error {
	err := unix.Mkdirat(parent.fd, base, mode)
	if err != nil || mode == ownMode {
		return err
	}
	// Whatever the umask and a setgid bit of the directory above say.
	if err := unix.Fchownat(parent.fd, base, 0, 0, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.Fchmodat(parent.fd, base, mode, 0)
}

// replaceByDir makes a directory in place of a whiteout or a file. It is opaque:
// what was there hid the lower layers already.
func (a *applier) replaceByDir(parent *dirHandle, base string, mode uint32) error {
	if err := a.remove(parent, base); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	if err := a.mkdir(parent, base, mode); err != nil {
		return err
	}
	return a.setOpaque(parent, base)
}

// setOpaque makes the directory base in parent, or parent itself if base is ".",
// hide what lies below.
func (a *applier) setOpaque(parent *dirHandle, base string) error {
	if a.o.Hide != nil {
		a.hide(Hidden{Name: path.Join(parent.name, base), Inside: true})
		return nil
	}
	key := a.o.Form.opaque()
	if err := unix.Lsetxattr(procPath(parent.fd, base), key, []byte("y"), 0); err != nil {
		return fmt.Errorf("set attribute %s: %w", key, err)
	}
	return nil
}

func (a *applier) makeSymlink(n node) error {
	err := a.place(n.parent, n.base, func() error {
		return unix.Symlinkat(n.e.Linkname, n.parent.fd, n.base)
	})
	if err != nil {
		return err
	}
	delete(a.borrowed, n.parent.child(n.base))
	return n.m.applyAt(n.parent.fd, n.base, true, n.form)
}

func (a *applier) makeSpecial(n node) error {
	kind := modeOf[n.e.Type]
	rdev := unix.Mkdev(uint32(n.e.Devmajor), uint32(n.e.Devminor))
	err := a.place(n.parent, n.base, func() error {
		err := error(unix.EPERM)
		if n.form != Owned || n.e.Type == layer.Fifo { // else the file will say what it stands for
			err = unix.Mknodat(n.parent.fd, n.base, kind|0o600, int(rdev))
		}
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
	return n.m.applyAt(n.parent.fd, n.base, false, n.form)
}

// makeWhiteout hides what lower layers have. What this layer itself holds stays,
// wherever in the tar the whiteout comes.
func (a *applier) makeWhiteout(n node) error {
	a.pipe.settle(n.key())
	err := a.hideName(n)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	st, err := statAt(n.parent.fd, n.base)
	if err != nil || !isDir(st) {
		return err
	}
	return a.setOpaque(n.parent, n.base)
}

// hideName hides a name of the layers below; EEXIST says that this layer has it.
func (a *applier) hideName(n node) error {
	if a.o.Hide == nil {
		return unix.Mknodat(n.parent.fd, n.base, unix.S_IFCHR, 0)
	}
	_, err := statAt(n.parent.fd, n.base)
	if errors.Is(err, unix.ENOENT) {
		a.hide(Hidden{Name: n.parent.child(n.base)})
		return nil
	}
	return cmp.Or(err, error(unix.EEXIST))
}

func (a *applier) hide(h Hidden) {
	a.hidden[h.Name] = true
	a.o.Hide(h)
}
