package output

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ocibuild/ocibuild/internal/plan"
	"github.com/ocibuild/ocibuild/layer"
)

// Tar writes the files of an image, its merged layers, as a tar file without
// any image around them; of an index, each image in a directory named after its
// platform. The same image always gives the same bytes.
type Tar struct {
	Path   string    // of the file; it is replaced when it is complete
	Writer io.Writer // takes the tar when Path is empty
}

// Validate refuses what says neither a path nor a writer.
func (o *Tar) Validate() error { return pathOrWriter("tar", o.Path, o.Writer) }

// Layer implements Sink.
func (o *Tar) Layer(context.Context, *layer.Layer) error { return nil }

// Write implements Sink.
func (o *Tar) Write(ctx context.Context, r *Result) error {
	if err := o.Validate(); err != nil {
		return err
	}
	write := func(w io.Writer) error { return writeFiles(ctx, w, rootfs(r)) }
	var err error
	switch {
	case o.Path != "":
		err = toFile(o.Path, write)
	default:
		err = brokenOff(write(guardedWriter{"Tar.Writer", o.Writer}))
	}
	if err != nil {
		return fmt.Errorf("tar %s: %w", o.Path, err)
	}
	return nil
}

// writeFiles writes a tree as what it adds to nothing.
func writeFiles(ctx context.Context, dst io.Writer, t layer.Tree) error {
	w := layer.NewWriter(ctx, dst, layer.WriterOptions{Compression: layer.Uncompressed})
	if err := plan.WriteDiff(ctx, nil, t, w); err != nil {
		w.Abort()
		return err
	}
	if _, err := w.Finish(); err != nil {
		w.Abort()
		return err
	}
	_, _, err := w.Wait()
	return err
}

// WriteFile writes a file whole or not at all, unless the path is of a pipe or a
// device. A link that leads to a file is replaced, and the file stays as it is.
func WriteFile(path string, data []byte) error {
	return toFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// toFile writes a file whole or not at all, unless the path is of a pipe or a
// device, which must not be replaced by a file.
func toFile(path string, write func(io.Writer) error) error {
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().IsRegular() {
		return replaceFile(path, write)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
