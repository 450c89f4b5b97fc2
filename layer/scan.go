package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Bounds of what a layer may claim, unless the caller says otherwise.
const (
	DefaultMaxEntries = 4_000_000
	DefaultMaxBytes   = 64 << 30
)

// ScanOptions bounds and directs [Scan].
type ScanOptions struct {
	// Digests computes the digest of each file as well; it costs one more hash pass.
	Digests bool
	// MaxEntries and MaxBytes bound what a hostile layer may claim; zero means
	// DefaultMaxEntries and DefaultMaxBytes.
	MaxEntries int
	MaxBytes   int64
}

// Scan reads an uncompressed layer tar to its end and returns its table of
// contents and its DiffID.
//
// Names are made relative and clean; one that climbs with ".." is an error, as
// is an entry that no image may hold (a sparse file, an unknown type).
func Scan(ctx context.Context, r io.Reader, o ScanOptions) (*TOC, digest.Digest, error) {
	if o.MaxEntries == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	in := &scanReader{ctx: ctx, r: bufio.NewReaderSize(r, 128<<10), hash: sha256.New(), most: o.MaxBytes}
	s := scanner{in: in, tar: tar.NewReader(in), files: o.Digests, buf: make([]byte, 64<<10)}
	for n := 0; ; n++ {
		h, err := s.tar.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, "", fmt.Errorf("layer tar at byte %d: %w", in.n, err)
		}
		if n >= o.MaxEntries {
			return nil, "", fmt.Errorf("layer has more than %d entries", o.MaxEntries)
		}
		if err := s.entry(h); err != nil {
			return nil, "", fmt.Errorf("layer entry %s: %w", quoteName(h.Name), err)
		}
	}
	// What follows the end of the archive is no file, but part of the DiffID.
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, in, s.buf); err != nil {
		return nil, "", fmt.Errorf("layer tar at byte %d: %w", in.n, err)
	}
	return s.toc.finish(in.n), makeDigest(in.hash.Sum(nil)), nil
}

// scanReader hashes and counts what archive/tar reads, which reads no byte ahead.
type scanReader struct {
	ctx  context.Context // of the one Scan this reader lives in
	r    io.Reader
	hash hash.Hash
	n    int64
	most int64
}

func (s *scanReader) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	if s.n += int64(n); s.n > s.most {
		return n, fmt.Errorf("layer is larger than %d bytes", s.most)
	}
	return n, err
}

type scanner struct {
	in    *scanReader
	tar   *tar.Reader
	toc   tocBuilder
	files bool
	buf   []byte
}

// entry adds what h describes to the table.
func (s *scanner) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	switch kind, hidden, err := marker(name); {
	case err != nil:
		return err
	case kind == markOther:
		return nil
	case kind == markOpaque:
		s.toc.opaque(hidden)
		return nil
	case kind == markWhiteout:
		e := normalize(Entry{Name: hidden, Type: Whiteout})
		return s.toc.add(&e)
	}
	e, err := scanEntry(h, name)
	if err != nil {
		return err
	}
	e.Offset = s.in.n
	if s.files && e.Type == Regular {
		sum := sha256.New()
		if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, s.tar, s.buf); err != nil {
			return err
		}
		e.Digest = makeDigest(sum.Sum(nil))
	}
	e = normalize(e)
	return s.toc.add(&e)
}

// scanEntry turns a tar header into an entry, or tells why it cannot be one.
func scanEntry(h *tar.Header, name string) (Entry, error) {
	e := Entry{
		Name: name, Type: Type(h.Typeflag), Size: h.Size, Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid,
		ModTime: h.ModTime.Unix(), Linkname: h.Linkname, Devmajor: h.Devmajor, Devminor: h.Devminor,
	}
	const noID = math.MaxUint32 // (uid_t)-1
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= noID || int64(h.Gid) >= noID {
		return e, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	for k, v := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return e, errSparse
		}
		if attr, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[attr] = v
		}
	}
	switch h.Typeflag {
	case tar.TypeGNUSparse:
		return e, errSparse
	case tar.TypeCont:
		e.Type = Regular
	case tar.TypeLink:
		target, err := cleanName(h.Linkname)
		if err != nil {
			return e, fmt.Errorf("hard link to %s: %w", quoteName(h.Linkname), err)
		}
		e.Linkname = target
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devminor < 0 {
			return e, fmt.Errorf("device %d:%d is out of range", h.Devmajor, h.Devminor)
		}
	}
	return e, checkEntry(&e)
}

var errSparse = errors.New("sparse files are not part of image layers")

type markKind int

const (
	markNone markKind = iota
	markWhiteout
	markOpaque
	markOther // bookkeeping of a union file system
)

// marker tells whether a name is one of the marker files of a layer, and what
// name it hides.
func marker(name string) (markKind, string, error) {
	if !strings.Contains(name, whPrefix) {
		return markNone, "", nil
	}
	dir, base := path.Dir(name), path.Base(name)
	for part := range strings.SplitSeq(nameKey(dir), "/") {
		if strings.HasPrefix(part, whMeta) {
			return markOther, "", nil
		}
		if strings.HasPrefix(part, whPrefix) {
			return markNone, "", errors.New("lies in what is named like a whiteout")
		}
	}
	hidden, ok := strings.CutPrefix(base, whPrefix)
	switch {
	case !ok:
		return markNone, "", nil
	case base == whOpaque:
		return markOpaque, dir, nil
	case strings.HasPrefix(base, whMeta):
		return markOther, "", nil
	case hidden == "" || hidden == "." || hidden == "..":
		return markNone, "", errors.New("whiteout of no name")
	}
	return markWhiteout, childKey(nameKey(dir), hidden), nil
}
