package layer

import (
	"hash"
	"io"
)

// lender is a reader that lends its own buffer, as package inflate's does, so
// that nothing needs to be copied to be hashed or passed over. What it lends
// stays until its next use.
type lender interface {
	Next() ([]byte, error)
}

// hashedReader hashes what it reads, ahead of what it is asked for.
type hashedReader struct {
	next func() ([]byte, error)
	hash hash.Hash
	rest []byte // hashed and not yet asked for
	err  error  // what comes after rest
}

func newHashedReader(r io.Reader, h hash.Hash) *hashedReader {
	if l, ok := r.(lender); ok {
		return &hashedReader{next: l.Next, hash: h}
	}
	buf := make([]byte, 128<<10)
	return &hashedReader{hash: h, next: func() ([]byte, error) {
		n, err := r.Read(buf)
		return buf[:n], err
	}}
}

func (h *hashedReader) Read(p []byte) (int, error) {
	if err := h.fill(); err != nil {
		return 0, err
	}
	n := copy(p, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

// skip passes over some bytes, at most n.
func (h *hashedReader) skip(n int64) (int64, error) {
	if err := h.fill(); err != nil {
		return 0, err
	}
	n = min(n, int64(len(h.rest)))
	h.rest = h.rest[n:]
	return n, nil
}

// fill sees to it that there is a rest.
func (h *hashedReader) fill() error {
	for range 100 { // a reader may return nothing, but not for ever
		if len(h.rest) > 0 {
			return nil
		}
		if h.err != nil {
			return h.err
		}
		h.rest, h.err = h.next()
		h.hash.Write(h.rest)
	}
	return io.ErrNoProgress
}
