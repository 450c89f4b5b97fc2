package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
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

// Layer implements Sink.
func (o *Folder) Layer(context.Context, *layer.Layer) error { return nil }

// Write implements Sink.
func (o *Folder) Write(ctx context.Context, r *Result) error {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("folder %s: %w", o.Dir, err)
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return fmt.Errorf("folder %s: %w", o.Dir, err)
	}
	defer root.Close()
	f := &folder{root: root, tree: rootfs(r), links: map[string]string{}}
	if err := f.fill(ctx, "."); err != nil {
		return fmt.Errorf("folder %s: %w", o.Dir, err)
	}
	return nil
}

type folder struct {
	root  *os.Root
	tree  layer.Tree
	links map[string]string // the name under which an inode was written
}

// fill writes what is in the directory dir, which is a real one.
func (f *folder) fill(ctx context.Context, dir string) error {
	list, err := f.tree.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) && dir == "." {
		return nil // an image without layers
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.put(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) put(ctx context.Context, e layer.Entry) error {
	switch e.Type {
	case layer.Directory:
		return f.directory(ctx, e)
	case layer.Symlink:
		if err := f.root.RemoveAll(e.Name); err != nil {
			return err
		}
		return f.root.Symlink(e.Linkname, e.Name)
	case layer.Regular:
		return f.file(ctx, e)
	}
	return fmt.Errorf("%s: devices and pipes cannot be written into a folder; type=tar can hold them", e.Name)
}

func (f *folder) directory(ctx context.Context, e layer.Entry) error {
	fi, err := f.root.Lstat(e.Name)
	if err == nil && !fi.IsDir() {
		err = errors.Join(f.root.Remove(e.Name), fs.ErrNotExist)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = f.root.Mkdir(e.Name, 0o700)
	}
	if err != nil {
		return err
	}
	if err := f.root.Chmod(e.Name, 0o700); err != nil {
		return err
	}
	if err := f.fill(ctx, e.Name); err != nil {
		return err
	}
	return f.finish(e)
}

// file writes a file under another name and renames it.
func (f *folder) file(ctx context.Context, e layer.Entry) error {
	if fi, err := f.root.Lstat(e.Name); err == nil && fi.IsDir() {
		if err := f.root.RemoveAll(e.Name); err != nil {
			return err
		}
	}
	if first := f.links[e.Inode]; e.Inode != "" && first != "" {
		if err := f.root.RemoveAll(e.Name); err != nil {
			return err
		}
		return f.root.Link(first, e.Name)
	}
	temp := path.Join(path.Dir(e.Name), ".ocibuild-"+path.Base(e.Name)[:min(len(path.Base(e.Name)), 200)])
	if err := f.content(ctx, e, temp); err != nil {
		_ = f.root.Remove(temp) // the first error says why
		return err
	}
	if err := f.root.Rename(temp, e.Name); err != nil {
		return err
	}
	if e.Inode != "" {
		f.links[e.Inode] = e.Name
	}
	return f.finish(e)
}

func (f *folder) content(ctx context.Context, e layer.Entry, temp string) error {
	r, err := f.tree.Open(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := f.root.RemoveAll(temp); err != nil {
		return err
	}
	w, err := f.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
func (f *folder) finish(e layer.Entry) error {
	mode := fs.FileMode(e.Mode & 0o777)
	for bit, m := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if e.Mode&bit != 0 {
			mode |= m
		}
	}
	if err := f.root.Chmod(e.Name, mode); err != nil {
		return err
	}
	at := time.Unix(e.ModTime, 0)
	return f.root.Chtimes(e.Name, at, at)
}
