package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

// ScanOptions bounds and directs [Scan].
type ScanOptions struct {
	Limits
	// Digests computes the digest of each file as well; it costs one more hash pass.
	Digests bool
}

// Scan reads an uncompressed layer tar to its end, as [TarReader] does, and
// returns its table of contents and its DiffID. The table shows what unpacking
// the tar would leave.
func Scan(ctx context.Context, r io.Reader, o ScanOptions) (*TOC, digest.Digest, error) {
	all := sha256.New()
	t := NewTarReader(ctx, newHashedReader(r, all), o.Limits)
	s := scanner{tar: t, files: o.Digests, buf: make([]byte, 64<<10)}
	for {
		e, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = s.entry(e)
		}
		if err != nil {
			return nil, "", err
		}
	}
	// What follows the end of the archive is no file, but part of the DiffID.
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, t.in, s.buf); err != nil {
		return nil, "", fmt.Errorf("layer tar at byte %d: %w", t.in.n, err)
	}
	toc, err := s.toc.finish(t.in.n)
	return toc, makeDigest(all.Sum(nil)), err
}

type scanner struct {
	tar   *TarReader
	toc   tocBuilder
	files bool
	buf   []byte
}

// entry adds e to the table.
func (s *scanner) entry(e Entry) error {
	if e.Opaque {
		return s.toc.opaque(e.Name)
	}
	if s.files && e.Type == Regular {
		sum := sha256.New()
		if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, s.tar, s.buf); err != nil {
			return fmt.Errorf("layer entry %s: %w", quoteName(e.Name), err)
		}
		e.Digest = makeDigest(sum.Sum(nil))
	}
	return s.toc.add(&e)
}
