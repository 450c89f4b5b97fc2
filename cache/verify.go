package cache

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// OpenVerified opens a blob of that size whose bytes are checked on their way:
// the last of them are given out only when all have the digest. Otherwise the
// blob is set aside and the error a [*DamagedError].
func (d *Dir) OpenVerified(dgst digest.Digest, size int64) (io.ReadCloser, error) {
	f, err := d.OpenBlob(dgst)
	if err != nil {
		return nil, err
	}
	v := &verified{dir: d, dgst: dgst, size: size, f: f, hash: dgst.Algorithm().Hash()}
	if sum, ok := keptChecksum(f); ok {
		v.sum = NewChecksum()
		v.hash, v.want = v.sum, sum
	}
	if size == 0 {
		if err := v.check(); err != nil {
			f.Close()
			return nil, err
		}
	}
	return v, nil
}

// VerifyBlob reads a blob to its end; the error is that of OpenVerified.
func (d *Dir) VerifyBlob(dgst digest.Digest, size int64) error {
	r, err := d.OpenVerified(dgst, size)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// Holds tells whether a blob of that size is in the store; a negative size is any.
// What is there in its place is set aside. Its bytes are not read, unless there
// are too many or too few: then it may be who asks that is wrong.
func (d *Dir) Holds(dgst digest.Digest, size int64) bool {
	if dgst.Validate() != nil {
		return false
	}
	fi, err := os.Stat(d.BlobPath(dgst))
	if err != nil {
		return false
	}
	if fi.Mode().IsRegular() && (size < 0 || fi.Size() == size) {
		return true
	}
	_ = d.VerifyBlob(dgst, fi.Size()) // which sets it aside
	return false
}

// verified reads a blob and hashes it.
type verified struct {
	dir  *Dir
	dgst digest.Digest
	size int64
	f    *os.File
	hash hash.Hash
	sum  hash.Hash32 // is hash, if there is a checksum
	want uint32      // the checksum
	n    int64       // bytes read
	err  error       // how it ended
}

// Read implements io.Reader.
func (v *verified) Read(p []byte) (int, error) {
	n, last, err := v.next(p)
	v.hash.Write(p[:n])
	if last {
		err = v.check()
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// next reads some bytes, which are to be hashed, and tells whether they are the
// last.
func (v *verified) next(p []byte) (n int, last bool, err error) {
	if v.err != nil || len(p) == 0 {
		return 0, false, v.err
	}
	if v.n == v.size {
		v.err = io.EOF
		return 0, false, v.err
	}
	n, err = v.f.Read(p[:min(int64(len(p)), v.size-v.n)])
	v.n += int64(n)
	switch {
	case err == io.EOF:
		v.err = v.damaged(fmt.Errorf("%d bytes, not %d", v.n, v.size))
	case err != nil:
		v.err = v.unread(err)
	}
	return n, v.err == nil && v.n == v.size, v.err
}

// check compares what was hashed, which must be everything.
func (v *verified) check() error {
	if v.err = v.compare(); v.err != nil {
		return v.err
	}
	if fi, err := v.f.Stat(); err == nil && fi.Size() != v.size {
		v.err = v.damaged(fmt.Errorf("%d bytes, not %d", fi.Size(), v.size))
	}
	return v.err
}

// unread is the error of bytes that could not be read.
func (v *verified) unread(err error) error {
	if isDamage(err) {
		return v.damaged(err)
	}
	return fmt.Errorf("blob %s: %w", v.dgst, err)
}

// compare tells that the bytes are not the blob's.
func (v *verified) compare() error {
	whole := v.hash
	if v.sum != nil {
		if v.sum.Sum32() == v.want {
			return nil
		}
		whole = v.dgst.Algorithm().Hash()
		if _, err := io.Copy(whole, io.NewSectionReader(v.f, 0, v.size)); err != nil {
			return v.unread(err)
		}
	}
	if got := digest.NewDigest(v.dgst.Algorithm(), whole); got != v.dgst {
		return v.damaged(&DigestError{got, v.dgst})
	}
	return nil
}

func (v *verified) damaged(why error) error {
	return v.dir.setAside("blob "+v.dgst.String(), v.dir.BlobPath(v.dgst), v.f, why)
}

const (
	verifyChunk  = 256 << 10
	verifyChunks = 4
)

// WriteTo implements io.WriterTo. It hashes while it writes, so that the check
// takes no time of its own where there is a second processor.
func (v *verified) WriteTo(w io.Writer) (int64, error) {
	free, full, done := make(chan []byte, verifyChunks), make(chan []byte, verifyChunks), make(chan struct{})
	for range min(verifyChunks, v.size/verifyChunk+1) {
		free <- make([]byte, min(verifyChunk, max(v.size, 1)))
	}
	go func() {
		defer close(done)
		for p := range full {
			v.hash.Write(p)
			free <- p[:cap(p)]
		}
	}()
	hashed := func() {
		if full != nil {
			close(full)
			<-done
			full = nil
		}
	}
	defer hashed()
	var written int64
	for {
		p := <-free // it was written before, since nobody else takes any
		n, last, err := v.next(p)
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		full <- p[:n]
		if last {
			hashed()
			if err := v.check(); err != nil {
				return written, err
			}
		}
		m, err := w.Write(p[:n])
		written += int64(m)
		if err != nil || last {
			return written, err
		}
	}
}

// Close implements io.Closer.
func (v *verified) Close() error { return v.f.Close() }
