package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// Diff writes to w what an overlay's upper directory changes against the
// merged lower directories, lowest first. Copied-up files and directories that
// equal what lies below are no change; a time that a directory has only because
// of what was done in it is none either. Entries come sorted; the directories above a change
// come with it (image-spec, layer.md#representing-changes). The root comes when
// its owner, mode or attributes have changed. Sockets are left out.
//
// Nothing may write to upper while Diff runs.
func Diff(ctx context.Context, upper string, lowers []string, w *layer.Writer, o DiffOptions) error {
	if err := newDiffer(ctx, o, w.Add).run(upper, lowers); err != nil {
		return fmt.Errorf("diff %s: %w", upper, err)
	}
	return nil
}

// differ is one run of Diff.
type differ struct {
	ctx   context.Context // of this run only
	o     DiffOptions
	add   func(layer.Entry, io.Reader) error
	links map[uint64]string // inode to the first name written of it
}

func newDiffer(ctx context.Context, o DiffOptions, add func(layer.Entry, io.Reader) error) *differ {
	return &differ{ctx: ctx, o: o, add: add, links: map[uint64]string{}}
}

// frame is a directory on the way down. It is written when something in it is.
type frame struct {
	parent  *frame
	e       layer.Entry
	written bool
	fd      int
	low     *merged
}

func (d *differ) run(upper string, lowers []string) error {
	low, err := openMerged(lowers, d.o.Form)
	if err != nil {
		return err
	}
	defer low.close()
	fd, err := openDir(unix.AT_FDCWD, upper)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	root := &frame{fd: fd, low: low}
	changed, err := d.rootChanged(root)
	if err != nil {
		return err
	}
	if changed {
		if err := d.write(root); err != nil {
			return err
		}
	}
	// The root is no directory that must come with what is in it.
	root.written = true
	if err := d.walk(root); err != nil || !d.o.Prune {
		return err
	}
	if changed {
		return futimens(fd, []unix.Timespec{seconds(root.e.ModTime), seconds(root.e.ModTime)})
	}
	return d.o.Form.clearRoot(fd)
}

// walk writes what has changed inside a directory.
func (d *differ) walk(f *frame) error {
	names, err := sortedNames(f.fd)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", f.e.Name, err)
	}
	for _, name := range names {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		if err := d.child(f, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) child(f *frame, name string) error {
	st, err := statAt(f.fd, name)
	if err != nil {
		return fmt.Errorf("%q in %q: %w", name, f.e.Name, err)
	}
	e, err := d.entry(f, name, st)
	if err != nil {
		return fmt.Errorf("%q in %q: %w", name, f.e.Name, err)
	}
	var keep bool
	switch e.Type {
	case layer.Directory:
		return d.directory(f, name, st, e) // wraps for itself
	case layer.Whiteout:
		keep, err = d.whiteout(f, name, e)
	case 0:
		keep, err = d.socket(f, name, e)
	default:
		keep, err = d.file(f, name, st, e)
	}
	if err == nil && !keep && d.o.Prune {
		err = unix.Unlinkat(f.fd, name, 0)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	return nil
}

// entry describes a file of upper. Its type is zero if it cannot be in a layer.
func (d *differ) entry(f *frame, name string, st *unix.Stat_t) (layer.Entry, error) {
	e := layer.Entry{Type: layer.Whiteout, ModTime: int64(st.Mtim.Sec)}
	var err error
	if !isWhiteout(st) {
		e, err = d.o.Form.entry(f.fd, name, st)
	}
	e.Name = path.Join(f.e.Name, name)
	return e, err
}

// write adds a directory after those above it.
func (d *differ) write(f *frame) error {
	if f == nil || f.written {
		return nil
	}
	if err := d.write(f.parent); err != nil {
		return err
	}
	f.written = true
	return d.add(f.e, nil)
}

func (d *differ) whiteout(f *frame, name string, e layer.Entry) (keep bool, err error) {
	_, _, err = f.low.lookup(name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil // made and removed in the same step
	}
	if err != nil {
		return false, err
	}
	if err := d.write(f); err != nil {
		return false, err
	}
	return true, d.add(e, nil)
}

// socket leaves out a socket, which no layer holds. A file whose place it has
// taken is gone.
func (d *differ) socket(f *frame, name string, e layer.Entry) (keep bool, err error) {
	e = layer.Entry{Type: layer.Whiteout, Name: e.Name, ModTime: e.ModTime}
	keep, err = d.whiteout(f, name, e)
	if err != nil || !keep || !d.o.Prune {
		return keep, err
	}
	if err := unix.Unlinkat(f.fd, name, 0); err != nil {
		return false, err
	}
	return true, unix.Mknodat(f.fd, name, unix.S_IFCHR, 0)
}

func (d *differ) directory(f *frame, name string, st *unix.Stat_t, e layer.Entry) error {
	fd, err := openDir(f.fd, name)
	if err != nil {
		return fmt.Errorf("open %q: %w", e.Name, err)
	}
	defer unix.Close(fd)
	low, err := f.low.child(name)
	if err != nil {
		return fmt.Errorf("open %q in lower layers: %w", e.Name, err)
	}
	defer low.close()
	sub := &frame{parent: f, e: e, fd: fd, low: low}
	changed, err := d.directoryChanged(sub, name)
	if err == nil && changed {
		err = d.write(sub)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	if err := d.walk(sub); err != nil || !d.o.Prune {
		return err
	}
	if !sub.written {
		return unix.Unlinkat(f.fd, name, unix.AT_REMOVEDIR)
	}
	// Pruning in it has moved its time.
	return d.wholeSeconds(f.fd, name, st, true)
}

// directoryChanged compares a directory with the one below and settles whether
// it hides that one's content.
func (d *differ) directoryChanged(sub *frame, name string) (bool, error) {
	if d.o.Form.isOpaque(procPath(sub.fd, "")) {
		hides, err := sub.low.shows()
		if err != nil {
			return false, err
		}
		sub.low.close()
		sub.e.Opaque = hides
		if hides {
			return true, nil
		}
		if d.o.Prune {
			if err := unix.Removexattr(procPath(sub.fd, ""), d.o.Form.opaque()); err != nil {
				return false, err
			}
		}
	}
	st, at, err := sub.parent.low.lookup(name)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	is, err := statAt(sub.fd, ".")
	if err != nil {
		return false, err
	}
	same, err := d.sameMeta(sub.e, st, at)
	return !same || d.timeGiven(is.Mtim, st.Mtim), err
}

func (d *differ) file(f *frame, name string, st *unix.Stat_t, e layer.Entry) (keep bool, err error) {
	same, err := d.sameFile(f, name, st, e)
	if same || err != nil {
		return false, err
	}
	if err := d.write(f); err != nil {
		return false, err
	}
	if d.o.Prune {
		if err := d.wholeSeconds(f.fd, name, st, false); err != nil {
			return false, err
		}
	}
	if e.Type != layer.Regular {
		return true, d.add(e, nil)
	}
	if st.Nlink > 1 {
		if first, ok := d.links[st.Ino]; ok {
			e.Type, e.Size, e.Linkname, e.Xattrs = layer.Hardlink, 0, first, nil
			return true, d.add(e, nil)
		}
		d.links[st.Ino] = e.Name
	}
	content, err := openRegular(f.fd, name)
	if err != nil {
		return false, err
	}
	defer content.Close()
	return true, d.add(e, Content(content, st))
}
