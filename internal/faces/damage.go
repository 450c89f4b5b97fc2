package faces

import (
	"context"
	"errors"
	"io"
	"io/fs"
)

// Open implements layer.Opener.
func (f *stored) Open(ctx context.Context) (io.ReadCloser, error) {
	if _, err := f.Blob(ctx); err != nil {
		return nil, err
	}
	r, err := f.store.Dir.OpenVerified(f.layer.Digest, f.layer.Size)
	if errors.Is(err, fs.ErrNotExist) {
		err = f.store.Dir.Missing(f.layer.Digest)
	}
	if err != nil {
		return nil, f.failed(err)
	}
	return r, nil
}

// Open implements layer.Opener.
func (m *making) Open(ctx context.Context) (io.ReadCloser, error) {
	b, err := m.Blob(ctx)
	if err != nil {
		return nil, err
	}
	return m.store.Dir.OpenVerified(b.Descriptor.Digest, b.Descriptor.Size)
}

// Open implements layer.Opener.
func (a *awaited) Open(ctx context.Context) (io.ReadCloser, error) {
	f, err := a.stored(ctx)
	if err != nil {
		return nil, err
	}
	return f.Open(ctx)
}

// diagnose finds out whether a layer cannot be read because its blob in the
// store is damaged. It is asked only when reading has failed.
func (f *stored) diagnose(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if size, ok := f.store.Dir.HasBlob(f.layer.Digest); !ok || size != f.layer.Size {
		return err
	}
	if damage := f.store.Dir.VerifyBlob(f.layer.Digest, f.layer.Size); damage != nil {
		return damage
	}
	return err
}

// suspect is a tar whose reading may fail because its blob is damaged.
type suspect struct {
	io.ReaderAt
	f *stored
}

// ReadAt implements io.ReaderAt.
func (s *suspect) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.f.failed(s.f.diagnose(err))
	}
	return n, err
}
