package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// Apply unpacks one uncompressed layer tar into the empty directory dir, in the
// form overlayfs expects of a lower directory: a whiteout is a character device
// 0:0, an opaque directory carries the overlay.opaque attribute. No entry can
// name, follow or change anything outside dir: the directory above an entry is
// resolved as if dir were the root of the file system, and the entry itself is
// never followed. What is an error for [layer.Scan] is one here.
//
// Of several entries with one name the last wins. A directory in place of
// anything else is opaque, because what was there hid the lower layers.
//
// Where device nodes may not be made, as in a user namespace, an empty file
// stands in their place: a build step could not open them there anyway. A root
// that the tar does not describe has mode 0755 and the time [unstated].
func Apply(ctx context.Context, r io.Reader, dir string, o ApplyOptions) error {
	a, err := newApplier(ctx, dir, o)
	if err != nil {
		return fmt.Errorf("unpack layer into %s: %w", dir, err)
	}
	defer a.close()
	t := layer.NewTarReader(ctx, r, o.Limits)
	for {
		e, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := a.entry(e, newMeta(&e, t.ModTime()), t); err != nil {
			if earlier := a.pipe.wait(); earlier != nil {
				return earlier // which names its own file
			}
			return fmt.Errorf("unpack %q: %w", e.Name, err)
		}
	}
	return a.finish()
}

// unstated is the modification time of a root that the layer does not describe.
// No tool writes it into a tar.
var unstated = unix.Timespec{Nsec: 1}

// applier is one run of Apply. Names in it are real: none leads through a link.
type applier struct {
	ctx  context.Context // of this run only; an applier does not outlive Apply
	o    ApplyOptions
	root int
	dirs *dirCache
	pipe *filePipe

	copied  int64                    // bytes, from lower trees
	times   map[string]unix.Timespec // of directories, set at the end
	acls    map[string]string        // that directories hand on to what is created in them, set at the end
	implied map[string]bool          // directories made only because something lies in them
	lower   *merged                  // nil until asked for
	// borrowed are symbolic links copied from lower trees. They lead nowhere in
	// this layer, for which they are hard links to it knows not what.
	borrowed map[string]bool
	hidden   map[string]bool // what Hide was told
	buf      []byte
}

func newApplier(ctx context.Context, dir string, o ApplyOptions) (*applier, error) {
	root, err := openDir(unix.AT_FDCWD, dir)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if err := cmp.Or(unix.Fchown(root, 0, 0), unix.Fchmod(root, 0o755)); err != nil {
		unix.Close(root)
		return nil, fmt.Errorf("set owner and mode: %w", err)
	}
	o.Limits = o.OrDefault()
	a := &applier{
		ctx: ctx, o: o, root: root,
		times:   map[string]unix.Timespec{".": unstated},
		acls:    map[string]string{},
		implied: map[string]bool{}, borrowed: map[string]bool{}, hidden: map[string]bool{},
		buf:  make([]byte, 256<<10),
		pipe: newFilePipe(),
	}
	a.dirs = newDirCache(a)
	return a, nil
}

func (a *applier) close() {
	a.pipe.stop()
	a.dirs.flush()
	if a.lower != nil {
		a.lower.close()
	}
	unix.Close(a.root)
}

// entry unpacks one entry of the tar.
func (a *applier) entry(e layer.Entry, m *meta, content io.Reader) error {
	switch {
	case e.Opaque:
		d, err := a.dirs.get(e.Name)
		if err != nil {
			return err
		}
		defer d.release()
		return a.setOpaque(d, ".")
	case e.Name == ".":
		a.times["."] = m.mtime
		return a.describeDir(a.root, ".", m)
	}
	parent, err := a.dirs.get(path.Dir(e.Name))
	if err != nil {
		return err
	}
	defer parent.release()
	return a.make(node{e: e, parent: parent, base: path.Base(e.Name), m: m, form: a.o.Form}, content)
}

// finish waits for the writers and sets what making children would have
// changed, the times of directories, and what would have changed the children.
func (a *applier) finish() error {
	if err := a.pipe.wait(); err != nil {
		return err
	}
	a.dirs.flush() // names that led through links: those below are real
	if err := a.finishImplied(); err != nil {
		return err
	}
	if err := a.setACLs(); err != nil {
		return err
	}
	// In order, so that the directory above is mostly the one used before.
	for _, name := range slices.Sorted(maps.Keys(a.times)) {
		if err := a.setDirTime(name, a.times[name]); err != nil {
			return fmt.Errorf("set times of %q: %w", name, err)
		}
	}
	return nil
}

func (a *applier) setDirTime(name string, t unix.Timespec) error {
	ts := []unix.Timespec{t, t}
	if name == "." {
		return futimens(a.root, ts)
	}
	parent, err := a.dirs.open(path.Dir(name))
	if err != nil {
		return nil // the directory was replaced by a later entry
	}
	defer parent.release()
	st, err := statAt(parent.fd, path.Base(name))
	if err != nil || !isDir(st) {
		return nil
	}
	return unix.UtimesNanoAt(parent.fd, path.Base(name), ts, unix.AT_SYMLINK_NOFOLLOW)
}

// finishImplied gives directories without an entry of their own the metadata
// they have below, because in an overlay the topmost directory is the one seen.
func (a *applier) finishImplied() error {
	if len(a.implied) == 0 || a.o.Lower == nil {
		return nil
	}
	low, err := a.lowerTrees()
	if err != nil {
		return err
	}
	// With this layer on top, so that what it hides is not found.
	all, err := low.under(a.root)
	if err != nil {
		return err
	}
	defer all.close()
	down := &descent{root: all}
	defer down.close()
	for _, name := range slices.SortedFunc(maps.Keys(a.implied), layer.CompareNames) {
		if err := a.describe(name, down); err != nil {
			return fmt.Errorf("unpack %q: %w", name, err)
		}
	}
	return nil
}

// hides tells whether Hide was told that nothing of what lies below a directory
// of this layer shows.
func (a *applier) hides(name string) bool {
	for !a.hidden[name] && name != "." {
		name = path.Dir(name)
	}
	return a.hidden[name]
}

// describe gives the directory name of this layer the metadata of the one it
// lies upon, if it does.
func (a *applier) describe(name string, down *descent) error {
	if err := a.ctx.Err(); err != nil || a.hides(name) {
		return err
	}
	own, err := a.dirs.open(name)
	if err != nil {
		return nil // replaced by a later entry
	}
	defer own.release()
	dir, err := down.to(name)
	if err != nil {
		return err
	}
	if len(dir.fds) < 2 {
		return nil // nothing lies below
	}
	m, err := a.o.Form.dirMeta(dir.fds[1])
	if err != nil {
		return fmt.Errorf("read the directory of a lower layer: %w", err)
	}
	fd, err := openDir(own.fd, ".")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	a.times[name] = m.mtime
	return a.describeDir(fd, name, m)
}

// lowerTrees asks for the layers below, once.
func (a *applier) lowerTrees() (*merged, error) {
	if a.lower != nil {
		return a.lower, nil
	}
	var paths []string
	if a.o.Lower != nil {
		var err error
		if paths, err = a.o.Lower(a.ctx); err != nil {
			return nil, fmt.Errorf("get the layers below: %w", err)
		}
	}
	low, err := openMerged(paths, a.o.Form)
	if err != nil {
		return nil, err
	}
	a.lower = low
	return low, nil
}
