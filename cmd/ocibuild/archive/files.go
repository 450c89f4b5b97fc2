package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ocibuild/ocibuild/cache"
)

// files is an archive or a folder; names have no "./" and no "..".
type files interface {
	// open opens a regular file; the error is fs.ErrNotExist if there is none.
	open(name string) (io.ReadCloser, error)
}

// open opens the input; done removes what was unpacked.
func (s *store) open(ctx context.Context, from string, stdin io.Reader) (in files, done func(), err error) {
	if from == "-" {
		return unpack(ctx, s.dir, stdin)
	}
	fi, err := os.Stat(from)
	if err != nil {
		return nil, nil, err
	}
	if fi.IsDir() {
		return openFolder(from)
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return unpack(ctx, s.dir, f)
}

// maxMembers is how many files an image archive may hold.
const maxMembers = 100_000

// folder is a directory of somebody else: links do not lead out of it.
type folder struct{ root *os.Root }

func openFolder(dir string) (files, func(), error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	return folder{root}, func() { _ = root.Close() }, nil // it was only read
}

func (d folder) open(name string) (io.ReadCloser, error) {
	fi, err := d.root.Stat(name) // before it is opened: a pipe would wait
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return d.root.Open(name)
}

// unpacked is a tar that was unpacked. Its members lie in a directory under numbers, so
// that no name in it leads anywhere.
type unpacked struct {
	dir   string
	files map[string]string // name → file in dir
	links map[string]string // name → name
}

// unpack reads a tar, compressed with gzip or not, into a temporary directory.
func unpack(ctx context.Context, dir *cache.Dir, r io.Reader) (files, func(), error) {
	tmp, err := dir.TempDir("load-*")
	if err != nil {
		return nil, nil, err
	}
	done := func() { os.RemoveAll(tmp) }
	a := &unpacked{dir: tmp, files: map[string]string{}, links: map[string]string{}}
	if err := a.read(ctx, bufio.NewReaderSize(r, 1<<20)); err != nil {
		done()
		return nil, nil, err
	}
	return a, done, nil
}

func (a *unpacked) read(ctx context.Context, r *bufio.Reader) error {
	var in io.Reader = r
	if magic, _ := r.Peek(2); string(magic) == "\x1f\x8b" {
		zr, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		in = zr // nothing to close: the tar's end is checked, not the stream's
	}
	for tr, n := tar.NewReader(in), 0; ; n++ {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("it is empty")
		case err != nil:
			return fmt.Errorf("not a tar archive: %w", err)
		case n >= maxMembers:
			return fmt.Errorf("more than %d files", maxMembers)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := a.add(h, tr, n); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func (a *unpacked) add(h *tar.Header, r io.Reader, n int) error {
	name := inside(h.Name)
	switch h.Typeflag {
	case tar.TypeReg:
		f, err := os.OpenFile(filepath.Join(a.dir, strconv.Itoa(n)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		a.files[name] = f.Name()
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	case tar.TypeSymlink:
		a.links[name] = inside(path.Join(path.Dir(name), h.Linkname))
	case tar.TypeLink:
		a.links[name] = inside(h.Linkname)
	}
	return nil
}

// inside makes a name relative to the root of the archive.
func inside(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (a *unpacked) open(name string) (io.ReadCloser, error) {
	for range 8 { // links
		if file, ok := a.files[name]; ok {
			return os.Open(file)
		}
		to, ok := a.links[name]
		if !ok {
			break
		}
		name = to
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
