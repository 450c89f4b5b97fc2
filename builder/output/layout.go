package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// Layout writes images into a directory in the shape of an OCI image layout.
// Images that are there stay, but lose a tag that the new one takes. Whoever
// reads the directory meanwhile sees the old images or the new.
type Layout struct {
	Dir   string
	Names []string // references; none means the result's own
}

// Validate refuses a layout without a directory: it would be the current one.
func (o *Layout) Validate() error { return required("layout", "Dir", o.Dir) }

// Layer implements Sink: blobs are placed in the end, which costs a link.
func (o *Layout) Layer(context.Context, *layer.Layer) error { return nil }

// Write implements Sink.
func (o *Layout) Write(ctx context.Context, r *Result) error {
	if err := o.Validate(); err != nil {
		return err
	}
	names, err := tagged(o.Names, r)
	if err != nil {
		return err
	}
	if err := o.write(ctx, r, indexEntries(r, names)); err != nil {
		return fmt.Errorf("OCI layout %s: %w", o.Dir, err)
	}
	return nil
}

func (o *Layout) write(ctx context.Context, r *Result, entries []ocispec.Descriptor) error {
	if err := o.begin(); err != nil {
		return err
	}
	blobs, err := blobsOf(ctx, r)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := o.place(ctx, b); err != nil {
			return fmt.Errorf("blob %s: %w", b.digest, err)
		}
	}
	return o.changeIndex(ctx, entries)
}

// begin makes the directory a layout, unless it is something else.
func (o *Layout) begin() error {
	data, err := cache.ReadRegular(filepath.Join(o.Dir, ocispec.ImageLayoutFile))
	if err == nil {
		var l ocispec.ImageLayout
		if json.Unmarshal(data, &l) != nil || l.Version != ocispec.ImageLayoutVersion {
			return fmt.Errorf("%s: not a layout of version %s", ocispec.ImageLayoutFile, ocispec.ImageLayoutVersion)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, ocispec.ImageBlobsDir, "sha256"), 0o755); err != nil {
		return err
	}
	if data != nil {
		return nil
	}
	return replaceFile(filepath.Join(o.Dir, ocispec.ImageLayoutFile), func(w io.Writer) error {
		_, err := io.WriteString(w, layoutMarker)
		return err
	})
}

// place puts a blob where it belongs, as a link to the store's file where that
// is possible and lets others read it as well.
func (o *Layout) place(ctx context.Context, b blob) error {
	to := filepath.Join(o.Dir, ocispec.ImageBlobsDir, b.digest.Algorithm().String(), b.digest.Encoded())
	if fi, err := os.Stat(to); err == nil && fi.Mode().IsRegular() && fi.Size() == b.size {
		return nil
	}
	if b.path != "" && readable(b.path) {
		if err := b.copyTo(ctx, io.Discard); err != nil {
			return err
		}
		if os.Link(b.path, to) == nil {
			return nil
		}
	}
	return replaceFile(to, func(w io.Writer) error { return b.copyTo(ctx, w) })
}

// readable tells whether a link to the file can be read by who may read the layout.
func readable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode()&0o444 == 0o444
}

// changeIndex adds the entries. The lock is between processes that write the
// same layout; the file it is taken on is always there and never changes.
func (o *Layout) changeIndex(ctx context.Context, entries []ocispec.Descriptor) error {
	lock := flock.New(filepath.Join(o.Dir, ocispec.ImageLayoutFile), flock.SetFlag(os.O_RDONLY))
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer func() { _ = lock.Close() }()
	path := filepath.Join(o.Dir, ocispec.ImageIndexFile)
	index := newIndex()
	data, err := cache.ReadRegular(path)
	if err == nil {
		err = json.Unmarshal(data, index)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(old ocispec.Descriptor) bool {
		return slices.ContainsFunc(entries, func(e ocispec.Descriptor) bool { return replaces(e, old) })
	})
	index.Manifests = append(index.Manifests, entries...)
	return replaceFile(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(index) })
}

// replaces tells whether an image that is added takes the place of another: it
// takes its tag, or it is the same one without a name.
func replaces(added, old ocispec.Descriptor) bool {
	tag := old.Annotations[ocispec.AnnotationRefName]
	if tag == "" {
		return added.Digest == old.Digest
	}
	return tag == added.Annotations[ocispec.AnnotationRefName]
}

// replaceFile writes a file under another name and renames it, so that it is
// there whole or not at all.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
