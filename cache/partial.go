package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	partialFolder = "partial"
	// minPartial is the size of a blob from which on it pays to keep a part.
	minPartial = 1 << 20
	// partialAge is how long a part is kept after its last byte came.
	partialAge = 24 * time.Hour
)

// FetchBlob keeps the bytes that fetch yields from an offset on, which must
// have the digest want and the size given. When it is interrupted, what came
// is kept for a day, and the next call asks for the rest only. The caller holds
// the blob's lock.
func (d *Dir) FetchBlob(ctx context.Context, want digest.Digest, size int64, fetch func(offset int64) (io.ReadCloser, error)) error {
	if err := want.Validate(); err != nil {
		return fmt.Errorf("blob %q: %w", want, err)
	}
	if size < minPartial || want.Algorithm() != digest.SHA256 {
		return d.fetchWhole(ctx, want, size, fetch)
	}
	d.sweepPartial()
	w, err := d.resume(want, size)
	if err != nil {
		return fmt.Errorf("blob %s: %w", want, err)
	}
	defer func() { w.keep() }()
	resumed := w.size > 0
	for {
		from, err := w.append(ctx, size, fetch)
		if err != nil {
			return err
		}
		err = w.commit(want)
		if err == nil || !resumed && !rejectWrong(from, err) {
			return err
		}
		resumed = false // the part that was kept may be to blame
		again, err := d.resume(want, size)
		if err != nil {
			return fmt.Errorf("blob %s: %w", want, err)
		}
		w = again
	}
}

// Rejecter is what the reader of a fetch may be besides: it is told why its bytes
// cannot be the blob, and reports whether another fetch may bring others.
type Rejecter interface{ Reject(why error) bool }

// rejectWrong rejects bytes that have another digest.
func rejectWrong(from io.Reader, err error) bool {
	wrong, ok := errors.AsType[*DigestError](err)
	r, can := from.(Rejecter)
	return ok && can && r.Reject(wrong)
}

// fetchWhole is FetchBlob for a blob of which no part is kept.
func (d *Dir) fetchWhole(ctx context.Context, want digest.Digest, size int64, fetch func(offset int64) (io.ReadCloser, error)) error {
	for {
		r, err := fetch(0)
		if err != nil {
			return err
		}
		err = d.PutBlob(ctx, r, want, size)
		r.Close()
		if err == nil || !rejectWrong(r, err) {
			return err
		}
	}
}

// partialBlob is a blob whose unfinished file outlives the process.
type partialBlob struct{ BlobWriter }

// resume opens the part that was kept, or a new one.
func (d *Dir) resume(want digest.Digest, size int64) (*partialBlob, error) {
	if err := os.MkdirAll(d.sub(partialFolder), 0o700); err != nil {
		return nil, err
	}
	path := d.sub(partialFolder, want.Encoded())
	if fi, err := os.Lstat(path); err == nil && (!fi.Mode().IsRegular() || fi.Size() > size) {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	w := &partialBlob{*d.newBlobWriter(f)}
	if w.size, err = io.Copy(io.MultiWriter(w.hash, w.sum), f); err != nil { // it cannot be read: begin again
		w.size = 0
		w.hash.Reset()
		w.sum.Reset()
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			err = f.Truncate(0)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return w, nil
}

// append fetches what is missing, and returns whom it came from.
func (w *partialBlob) append(ctx context.Context, size int64, fetch func(offset int64) (io.ReadCloser, error)) (io.Reader, error) {
	if w.size >= size {
		return nil, nil
	}
	r, err := fetch(w.size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := w.Fill(ctx, io.LimitReader(r, size-w.size+1)); err != nil {
		return nil, err
	}
	if w.size != size {
		got := w.size
		w.Abort()
		return nil, fmt.Errorf("%d bytes where %d were announced", got, size)
	}
	return r, nil
}

// keep leaves an unfinished file to the next who wants the blob.
func (w *partialBlob) keep() {
	if w.f == nil {
		return
	}
	empty := w.size == 0
	w.f.Close()
	if empty {
		os.Remove(w.f.Name())
	}
	w.f = nil
}

// commit puts the blob in its place; what has another digest is removed.
func (w *partialBlob) commit(want digest.Digest) error {
	err := w.BlobWriter.commit(want)
	w.Abort()
	return err
}

// sweepPartial removes parts that nobody came back for.
func (d *Dir) sweepPartial() {
	_ = filepath.WalkDir(d.sub(partialFolder), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // there may be none
		}
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > partialAge {
			os.Remove(path)
		}
		return nil
	})
}
