package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/filelock"
)

// Dir is the local store, a directory shared by any number of processes:
//
//	oci-layout, index.json   the layout's marker and the tags
//	blobs/sha256/…           blobs: layers, configs, manifests
//	keys/aa/…                records, by key
//	toc/…                    tables of contents, by DiffID
//	trees/…                  unpacked layers, by flavour and DiffID
//	mounts/…                 cache mounts
//	git/…, http/…            what sources keep: see SourcePath
//	partial/…                parts of blobs whose fetch was interrupted
//	locks/…                  files that are only ever locked
//	tmp/…                    what is being written; OpenDir removes what dead processes left
//	damaged/…                what was set aside: it is not used again and may be removed
//
// Dir is a [Store].
type Dir struct {
	// OnDamage is told of each file that is set aside; nil tells nobody. It must
	// not change once the store is in use.
	OnDamage func(*DamagedError)

	path   string
	temp   tempOwner
	locks  *filelock.Set
	missed sync.Map // digests of blobs that were missing
}

// OpenDir opens the store at path and makes it if there is none. Only its
// owner may enter it; one that others own, or may write to, is refused, since
// they would decide what is built.
func OpenDir(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	if err := private(path); err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	d := &Dir{path: path}
	d.locks = filelock.In(d.sub("locks"))
	_, err = os.Lstat(d.sub("oci-layout"))
	made := err == nil
	for _, dir := range []string{"", "blobs/sha256", "keys", "toc", "trees", "mounts", "locks", "tmp"} {
		if err := os.MkdirAll(d.sub(dir), 0o700); err != nil {
			return nil, fmt.Errorf("store %s: %w", path, err)
		}
		if !made && (dir == "" || dir == "tmp") {
			spread(d.sub(dir))
		}
		if dir == "" || dir == "trees" || dir == "mounts" || dir == "tmp" {
			if err := inheritNothing(d.sub(dir)); err != nil {
				return nil, fmt.Errorf("store: %w", err)
			}
		}
	}
	d.sweepTemp()
	if made {
		return d, nil
	}
	if err := d.replace(d.sub("oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return d, nil
}

// Path returns the store's directory.
func (d *Dir) Path() string { return d.path }

// TreesPath returns the directory of unpacked layers.
func (d *Dir) TreesPath() string { return d.sub("trees") }

// MountsPath returns the directory of cache mounts.
func (d *Dir) MountsPath() string { return d.sub("mounts") }

// Get implements Store.
func (d *Dir) Get(_ context.Context, k Key) (*Record, error) {
	what := "record " + k.String()
	data, err := d.readFile(what, d.keyPath(k))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	var damaged *DamagedError
	if err != nil && !errors.As(err, &damaged) {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var r *Record
	if err == nil {
		if r, err = decodeRecord(data); err != nil {
			err = d.setAside(what, d.keyPath(k), nil, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	return r, nil
}

// HasRecord tells whether there is a record of k, without reading it.
func (d *Dir) HasRecord(k Key) bool {
	_, err := os.Lstat(d.keyPath(k))
	return err == nil
}

// Put implements Store.
func (d *Dir) Put(_ context.Context, k Key, r *Record, also ...Key) error {
	data, err := encodeRecord(r)
	if err != nil {
		return fmt.Errorf("record %s: %w", k, err)
	}
	// The other keys get the file before it is k's: under k, another process may
	// put its own meanwhile.
	tmp, err := d.write(data)
	if err != nil {
		return fmt.Errorf("record %s: %w", k, err)
	}
	for _, a := range also {
		if err := d.alias(tmp, d.keyPath(a), data); err != nil {
			os.Remove(tmp)
			return fmt.Errorf("record %s: %w", a, err)
		}
	}
	if err := d.rename(tmp, d.keyPath(k)); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("record %s: %w", k, err)
	}
	return nil
}

// alias gives a file another name, in place of what has the name. Records
// never change, so a hard link does; a file system without them gets a copy.
func (d *Dir) alias(from, to string, data []byte) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		err = os.Link(from, to)
	}
	if err == nil {
		return nil
	}
	return d.replace(to, data)
}

// Touch marks a record as used now, so that collection keeps it.
func (d *Dir) Touch(k Key) {
	now := time.Now()
	_ = os.Chtimes(d.keyPath(k), now, now) // a lost mark costs at most a rebuild
}

// ReadTOC returns the stored table of contents of a layer; the error is
// fs.ErrNotExist if there is none.
func (d *Dir) ReadTOC(diffID digest.Digest) ([]byte, error) {
	p, err := d.tocPath(diffID)
	if err != nil {
		return nil, err
	}
	return d.readFile("table of contents "+diffID.String(), p)
}

// WriteTOC keeps the table of contents of a layer, which encode writes.
func (d *Dir) WriteTOC(diffID digest.Digest, encode func(io.Writer) error) error {
	p, err := d.tocPath(diffID)
	if err != nil {
		return err
	}
	tmp, err := d.writeBy(encode)
	if err != nil {
		return err
	}
	if err := d.rename(tmp, p); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

func (d *Dir) tocPath(diffID digest.Digest) (string, error) {
	if err := diffID.Validate(); err != nil {
		return "", fmt.Errorf("diff ID %q: %w", diffID, err)
	}
	return d.sub("toc", diffID.Algorithm().String()+"-"+diffID.Encoded()), nil
}

func (d *Dir) keyPath(k Key) string {
	s := k.String()
	return d.sub("keys", s[:2], s[2:])
}

func (d *Dir) sub(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// replace writes data to path so that a reader sees the old or the new content.
func (d *Dir) replace(path string, data []byte) error {
	tmp, err := d.write(data)
	if err != nil {
		return err
	}
	if err := d.rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// write makes a temporary file of data and returns its name.
func (d *Dir) write(data []byte) (string, error) {
	return d.writeBy(func(w io.Writer) error { _, err := w.Write(data); return err })
}

func (d *Dir) writeBy(write func(io.Writer) error) (string, error) {
	f, err := d.TempFile("put-*")
	if err != nil {
		return "", err
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// rename moves a finished file to its place, whose directory may be missing, and
// which something that is no file may have taken.
func (d *Dir) rename(from, to string) error {
	err := os.Rename(from, to)
	if fi, lerr := os.Lstat(to); err != nil && lerr == nil && fi.IsDir() {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		err = os.Rename(from, to)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		err = os.Rename(from, to)
	}
	return err
}
