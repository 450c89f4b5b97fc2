package layer

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Apply unpacks one uncompressed layer tar into the empty directory dir, in the
// form overlayfs expects of a lower directory: a whiteout is a character device
// 0:0, an opaque directory carries the overlay.opaque attribute. No entry can
// name, follow or change anything outside dir: the directory above an entry is
// resolved as if dir were the root of the file system, and the entry itself is
// never followed. Of several entries with one name the last wins.
//
// Where device nodes may not be made, as in a user namespace, an empty file
// stands in their place: a build step could not open them there anyway. A root
// that the tar does not describe has mode 0755 and a modification time of zero.
func Apply(ctx context.Context, r io.Reader, dir string, o ApplyOptions) error {
	a, err := newApplier(ctx, dir, o)
	if err != nil {
		return fmt.Errorf("unpack layer into %s: %w", dir, err)
	}
	defer a.close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer tar: %w", err)
		}
		if err := a.entry(h, tr); err != nil {
			return fmt.Errorf("unpack %s: %w", quoteName(h.Name), err)
		}
	}
	return a.finish()
}

// applier is one run of Apply.
type applier struct {
	ctx  context.Context // of this run only; an applier does not outlive Apply
	o    ApplyOptions
	root int
	dirs *dirCache
	pipe *filePipe

	entries int
	bytes   int64
	times   map[string]unix.Timespec // of directories, set at the end
	implied map[string]bool          // directories made only because something lies in them
	lower   *merged                  // nil until asked for
	buf     []byte
}

func newApplier(ctx context.Context, dir string, o ApplyOptions) (*applier, error) {
	root, err := openDir(unix.AT_FDCWD, dir)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	o.MaxEntries = cmp.Or(o.MaxEntries, DefaultMaxEntries)
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	a := &applier{
		ctx: ctx, o: o, root: root,
		times:   map[string]unix.Timespec{".": {}},
		implied: map[string]bool{".": true},
		buf:     make([]byte, 256<<10),
	}
	a.dirs = newDirCache(a)
	a.pipe = newFilePipe()
	return a, cmp.Or(unix.Fchown(root, 0, 0), unix.Fchmod(root, 0o755))
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
func (a *applier) entry(h *tar.Header, content io.Reader) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // its records are hints for all entries, of which none matters here
	}
	if err := a.count(h); err != nil {
		return err
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	dir, base := splitName(name)
	if kind := whiteoutKind(name); kind != notWhiteout {
		return a.whiteout(kind, dir, base)
	}
	m, err := newMeta(h)
	if err != nil {
		return err
	}
	if name == "." {
		return a.rootEntry(h, m)
	}
	parent, err := a.dirs.get(dir)
	if err != nil {
		return err
	}
	defer parent.release()
	return a.make(node{h: h, name: name, parent: parent, base: base, m: m}, content)
}

func (a *applier) count(h *tar.Header) error {
	a.entries++
	if a.entries > a.o.MaxEntries {
		return fmt.Errorf("layer has more than %d entries", a.o.MaxEntries)
	}
	if h.Size < 0 || h.Size > a.o.MaxBytes-a.bytes {
		return fmt.Errorf("layer holds more than %d bytes", a.o.MaxBytes)
	}
	a.bytes += h.Size
	return nil
}

func (a *applier) rootEntry(h *tar.Header, m *meta) error {
	if h.Typeflag != tar.TypeDir {
		return fmt.Errorf("the root of a layer is a directory, not of type %q", h.Typeflag)
	}
	delete(a.implied, ".")
	a.times["."] = m.mtime
	return m.applyFd(a.root)
}

// finish waits for the writers and sets what making children would have
// changed: the times of directories.
func (a *applier) finish() error {
	if err := a.pipe.wait(); err != nil {
		return err
	}
	if err := a.finishImplied(); err != nil {
		return err
	}
	// In order, so that the directory above is mostly the one used before.
	for _, name := range slices.Sorted(maps.Keys(a.times)) {
		if err := a.setDirTime(name, a.times[name]); err != nil {
			return fmt.Errorf("set times of %s: %w", quoteName(name), err)
		}
	}
	return nil
}

func (a *applier) setDirTime(name string, t unix.Timespec) error {
	ts := []unix.Timespec{t, t}
	if name == "." {
		return futimens(a.root, ts)
	}
	dir, base := splitName(name)
	parent, err := a.dirs.open(dir)
	if err != nil {
		return nil // the directory was replaced by a later entry
	}
	defer parent.release()
	st, err := statAt(parent.fd, base)
	if err != nil || !isDir(st) {
		return nil
	}
	return unix.UtimesNanoAt(parent.fd, base, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// finishImplied gives directories without an entry of their own the metadata
// they have below, because in an overlay the topmost directory is the one seen.
func (a *applier) finishImplied() error {
	delete(a.implied, ".") // the snapshot that is mounted over the tree sees to it
	if len(a.implied) == 0 || a.o.Lower == nil {
		return nil
	}
	low, err := a.lowerTrees()
	if err != nil {
		return err
	}
	for name := range a.implied {
		st, at, err := low.find(name)
		if err != nil || !isDir(st) {
			continue
		}
		m, err := metaOf(at, st)
		at.release()
		if err != nil {
			return fmt.Errorf("read %s of a lower layer: %w", quoteName(name), err)
		}
		if err := a.describe(name, m); err != nil {
			return fmt.Errorf("unpack %s: %w", quoteName(name), err)
		}
	}
	return nil
}

func (a *applier) describe(name string, m *meta) error {
	d, err := a.dirs.open(name)
	if err != nil {
		return nil // replaced by a later entry
	}
	defer d.release()
	fd, err := openDir(d.fd, ".")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	a.times[name] = m.mtime
	return m.applyFd(fd)
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
	low, err := openMerged(paths, overlayXattr(a.o.UserXattr, "opaque"))
	if err != nil {
		return nil, err
	}
	a.lower = low
	return low, nil
}
