package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

// Folder writes the files of an image, its merged layers, into a directory; of
// an index, each image into a directory of its own, named after its platform.
//
// What is there already stays, but for files whose names the image has. All
// belongs to the calling user and nothing has extended attributes, as with
// BuildKit's local exporter; a [Tar] keeps them. Whatever links lie in the
// directory, nothing is written outside of it.
type Folder struct{ Dir string }

// Validate refuses a folder without a directory.
func (o *Folder) Validate() error { return required("folder", "Dir", o.Dir) }

// Layer implements Sink.
func (o *Folder) Layer(context.Context, *layer.Layer) error { return nil }

// Write implements Sink.
func (o *Folder) Write(ctx context.Context, r *Result) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("folder %s: %w", o.Dir, err)
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return fmt.Errorf("folder %s: %w", o.Dir, err)
	}
	defer root.Close()
	f := &folder{top: root, tree: rootfs(r), links: map[string]string{}}
	if err := f.fill(ctx, place{root: root}, "."); err != nil {
		return fmt.Errorf("folder %s: %w", o.Dir, err)
	}
	return nil
}

type folder struct {
	top   *os.Root
	tree  layer.Tree
	links map[string]string // the name under which an inode was written
}

// place is an open directory at or above those that are being filled.
type place struct {
	root *os.Root
	name string // of root in the tree; "" for the top
}

// hop is how many directories down a new place is opened. Each call walks from the
// place to its file, so the cost of a deep tree is linear; and each place holds a
// descriptor while what is below it is filled.
const hop = 16

// rel is the name of a file of the tree as seen from the place.
func (p place) rel(name string) string {
	if p.name == "" {
		return name
	}
	return name[len(p.name)+1:]
}

// toward returns the place from which the files in the directory dir, which is a
// real one, are to be written, and what ends its use.
func (p place) toward(dir string) (place, func(), error) {
	if dir == "." || strings.Count(p.rel(dir), "/") < hop-1 {
		return p, func() {}, nil
	}
	root, err := p.root.OpenRoot(p.rel(dir))
	if err != nil {
		return place{}, nil, err
	}
	return place{root, dir}, func() { root.Close() }, nil
}

// fill writes what is in the directory dir, which is a real one.
func (f *folder) fill(ctx context.Context, p place, dir string) error {
	list, err := f.tree.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) && dir == "." {
		return nil // an image without layers
	}
	if err != nil {
		return err
	}
	p, done, err := p.toward(dir)
	if err != nil {
		return err
	}
	defer done()
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.put(ctx, p, e); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) put(ctx context.Context, p place, e layer.Entry) error {
	switch e.Type {
	case layer.Directory:
		return f.directory(ctx, p, e)
	case layer.Symlink:
		if err := p.root.RemoveAll(p.rel(e.Name)); err != nil {
			return err
		}
		return p.root.Symlink(e.Linkname, p.rel(e.Name))
	case layer.Regular:
		return f.file(ctx, p, e)
	}
	return fmt.Errorf("%s: devices and pipes cannot be written into a folder; type=tar can hold them", e.Name)
}

func (f *folder) directory(ctx context.Context, p place, e layer.Entry) error {
	name := p.rel(e.Name)
	fi, err := p.root.Lstat(name)
	if err == nil && !fi.IsDir() {
		err = errors.Join(p.root.Remove(name), fs.ErrNotExist)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = p.root.Mkdir(name, 0o700)
	}
	if err != nil {
		return err
	}
	if err := p.root.Chmod(name, 0o700); err != nil {
		return err
	}
	if err := f.fill(ctx, p, e.Name); err != nil {
		return err
	}
	return finish(p, e)
}

// file writes a file under another name and renames it.
func (f *folder) file(ctx context.Context, p place, e layer.Entry) error {
	name := p.rel(e.Name)
	if fi, err := p.root.Lstat(name); err == nil && fi.IsDir() {
		if err := p.root.RemoveAll(name); err != nil {
			return err
		}
	}
	if first := f.links[e.Inode]; e.Inode != "" && first != "" {
		if err := p.root.RemoveAll(name); err != nil {
			return err
		}
		err := f.top.Link(first, e.Name)
		if !errors.Is(err, syscall.EMLINK) {
			return err
		}
		// The file has as many names as its file system allows: from here on the
		// next ones are those of a copy.
	}
	temp := path.Join(path.Dir(name), ".ocibuild-"+path.Base(name)[:min(len(path.Base(name)), 200)])
	if err := f.content(ctx, p, e, temp); err != nil {
		_ = p.root.Remove(temp) // the first error says why
		return err
	}
	if err := p.root.Rename(temp, name); err != nil {
		return err
	}
	if e.Inode != "" {
		f.links[e.Inode] = e.Name
	}
	return finish(p, e)
}

func (f *folder) content(ctx context.Context, p place, e layer.Entry, temp string) error {
	r, err := f.tree.Open(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := p.root.RemoveAll(temp); err != nil {
		return err
	}
	w, err := p.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

// finish gives a file or a directory its mode and its time.
func finish(p place, e layer.Entry) error {
	mode := fs.FileMode(e.Mode & 0o777)
	for bit, m := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if e.Mode&bit != 0 {
			mode |= m
		}
	}
	name := p.rel(e.Name)
	if err := p.root.Chmod(name, mode); err != nil {
		return err
	}
	at := time.Unix(e.ModTime, 0)
	return p.root.Chtimes(name, at, at)
}
