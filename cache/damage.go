package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// DamagedError is a file of the store that is not what it must be, or that
// cannot be read. When it is returned, the file has been set aside, so that who
// tries again finds none and makes it again.
type DamagedError struct {
	What string // "blob sha256:…", "record …"
	Path string // where it was
	Err  error
}

// Error implements error.
func (e *DamagedError) Error() string {
	if errors.Is(e.Err, fs.ErrNotExist) {
		return e.What + " is not in the store any more"
	}
	return fmt.Sprintf("%s of the store is damaged: %v", e.What, e.Err)
}

// Unwrap implements errors.Unwrap.
func (e *DamagedError) Unwrap() error { return e.Err }

// Missing is the error of a blob that was here, or should be: another process has
// set it aside, or has removed it. Who tries again makes it again.
func (d *Dir) Missing(dgst digest.Digest) error {
	d.missed.Store(dgst, true)
	return &DamagedError{What: "blob " + dgst.String(), Path: d.BlobPath(dgst), Err: fs.ErrNotExist}
}

// Missed tells whether the blob was missing when it was needed.
func (d *Dir) Missed(dgst digest.Digest) bool {
	_, missed := d.missed.Load(dgst)
	return missed
}

// DigestError says that bytes do not have the digest they were asked for by.
type DigestError struct{ Got, Want digest.Digest }

// Error implements error.
func (e *DigestError) Error() string {
	return fmt.Sprintf("digest mismatch: got %s, want %s", e.Got, e.Want)
}

// ErrNotRegular is why a pipe, a device or a directory is not opened.
var ErrNotRegular = errors.New("not a regular file")

// OpenRegular opens a file to read it. Anything else is an ErrNotRegular: to
// open a pipe may wait for ever, and to open a device may set it going.
func OpenRegular(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	// What was a file a moment ago may be a pipe now, but will not be waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err = f.Stat(); err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadRegular reads a file as os.ReadFile does, and opens it as OpenRegular does.
func ReadRegular(path string) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// isDamage tells damage from other reasons why a file cannot be read, which the
// file is not to blame for.
func isDamage(err error) bool {
	return errors.Is(err, ErrNotRegular) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO)
}

// openFile opens a file of the store.
func (d *Dir) openFile(what, path string) (*os.File, error) {
	f, err := OpenRegular(path)
	if err != nil && isDamage(err) {
		err = d.setAside(what, path, nil, err)
	}
	return f, err
}

// readFile reads a small file of the store.
func (d *Dir) readFile(what, path string) ([]byte, error) {
	f, err := d.openFile(what, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var buf bytes.Buffer
	if fi, err := f.Stat(); err == nil {
		buf.Grow(int(min(fi.Size(), 64<<20)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(f); err != nil {
		if isDamage(err) {
			err = d.setAside(what, path, f, err)
		}
		return nil, err
	}
	return buf.Bytes(), nil
}

// setAside moves a damaged file out of the way and tells OnDamage, unless
// another process has put something else there since it was opened as f.
func (d *Dir) setAside(what, path string, f *os.File, why error) error {
	if pe, ok := errors.AsType[*fs.PathError](why); ok {
		why = pe.Err
	}
	e := &DamagedError{What: what, Path: path, Err: why}
	if f != nil {
		was, err := f.Stat()
		now, nerr := os.Stat(path)
		if err != nil || nerr != nil || !os.SameFile(was, now) {
			return e
		}
	}
	to := d.sub("damaged", filepath.Base(filepath.Dir(path))+"-"+filepath.Base(path))
	_ = os.RemoveAll(to) // an older one: if it stays, so does this one's name
	if err := d.rename(path, to); err != nil {
		_ = os.RemoveAll(path) // a directory that nobody may enter cannot be moved
	}
	if d.OnDamage != nil {
		d.OnDamage(e)
	}
	return e
}

// DamagedTOC sets aside the table of contents of a layer, for a reason that its
// reader found.
func (d *Dir) DamagedTOC(diffID digest.Digest, why error) {
	if p, err := d.tocPath(diffID); err == nil {
		_ = d.setAside("table of contents "+diffID.String(), p, nil, why)
	}
}

// Healed calls f again whenever something damaged was set aside on the way, but
// not for what was set aside before: what is damaged as soon as it is made stays so.
func Healed(f func() error) error {
	seen := map[string]bool{}
	for {
		err := f()
		e, ok := errors.AsType[*DamagedError](err)
		if !ok || seen[e.Path] {
			return err
		}
		seen[e.Path] = true
	}
}
