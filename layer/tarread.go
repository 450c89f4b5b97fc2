package layer

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// TarReader reads the entries of an uncompressed layer tar in their order.
// Whoever reads a layer's tar does it through this, so that all agree on which
// names and files a layer may hold.
//
// Names are made relative and clean; one that climbs with ".." is an error, as
// is an entry that no image may hold (an unknown type). A sparse file is read with
// its holes, as zeros.
type TarReader struct {
	in      *countingReader
	tar     *tar.Reader
	limits  Limits
	entries int
	sparse  int64 // the sizes of the sparse files so far, which may be more than the tar
	time    time.Time
}

// NewTarReader returns a reader of the tar r. It does not read ahead, and fails
// when ctx is done.
func NewTarReader(ctx context.Context, r io.Reader, l Limits) *TarReader {
	l = l.OrDefault()
	in := &countingReader{ctx: ctx, TarPositions: TarPositions{r: r}, most: l.MaxBytes}
	return &TarReader{in: in, tar: tar.NewReader(in), limits: l}
}

// Next moves on to the next entry; at the end the error is io.EOF. A Whiteout
// has the name that it hides. An opaque marker is a Directory with Opaque set
// and stands for nothing but the mark: directories themselves come without it.
// Bookkeeping files of union file systems are passed over.
func (t *TarReader) Next() (Entry, error) {
	for {
		h, err := t.tar.Next()
		if errors.Is(err, io.EOF) {
			return Entry{}, err
		}
		if err != nil {
			return Entry{}, fmt.Errorf("layer tar at byte %d: %w", t.in.n, err)
		}
		if t.entries++; t.entries > t.limits.MaxEntries {
			return Entry{}, fmt.Errorf("layer has more than %d entries", t.limits.MaxEntries)
		}
		e, err := t.entry(h)
		if err != nil {
			return Entry{}, fmt.Errorf("layer entry %s: %w", quoteName(h.Name), err)
		}
		if e.Type != 0 {
			t.time = h.ModTime
			return normalize(e), nil
		}
	}
}

// entry turns a tar header into an entry within the limits.
func (t *TarReader) entry(h *tar.Header) (Entry, error) {
	start := t.in.Entry(h)
	if size := t.in.n - start; size > t.limits.MaxHeader {
		return Entry{}, fmt.Errorf("its headers have %d bytes, more than %d", size, t.limits.MaxHeader)
	}
	e, err := tarEntry(h)
	if err != nil || e.Type == 0 {
		return e, err
	}
	e.Offset = t.in.n
	if e.sparse {
		e.Offset = start
		if t.sparse += e.Size; e.Size > t.limits.MaxBytes || t.sparse > t.limits.MaxBytes-t.in.n {
			return e, fmt.Errorf("with its sparse files the layer is larger than %d bytes", t.limits.MaxBytes)
		}
	}
	return e, t.limits.Check(e)
}

// Read reads the content of the current entry.
func (t *TarReader) Read(p []byte) (int, error) { return t.tar.Read(p) }

// ModTime is the exact modification time of the current entry.
func (t *TarReader) ModTime() time.Time { return t.time }

// countingReader counts what archive/tar reads, which reads no byte ahead.
type countingReader struct {
	TarPositions
	ctx  context.Context // of the one TarReader this lives in
	most int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.TarPositions.Read(p)
	return n, cmp.Or(c.check(), err)
}

func (c *countingReader) check() error {
	if c.n > c.most {
		return fmt.Errorf("layer is larger than %d bytes", c.most)
	}
	return nil
}

// skipper is a reader that can pass over bytes: some, at most n.
type skipper interface {
	skip(n int64) (int64, error)
}

// Seek goes forward, for archive/tar, which passes over the content of files so.
func (c *countingReader) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.r.(skipper)
	if !ok || whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported // archive/tar then reads
	}
	for offset > 0 {
		if err := c.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := s.skip(offset)
		if err != nil {
			break // it comes again when archive/tar reads, which knows how to tell it
		}
		c.n += n
		if err := c.check(); err != nil {
			return 0, err
		}
		offset -= n
	}
	return c.n, nil
}

// tarEntry turns a tar header into an entry, or tells why it cannot be one. The
// type is zero if the header describes nothing in the layer.
func tarEntry(h *tar.Header) (Entry, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return Entry{}, nil // hints for all entries, of which none matters to a layer
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return Entry{}, err
	}
	if m, ok, err := marker(name); ok || err != nil {
		return m, err
	}
	e := Entry{
		Name: name, Type: Type(h.Typeflag), Size: h.Size, Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid,
		ModTime: h.ModTime.Unix(), Linkname: h.Linkname, Devmajor: h.Devmajor, Devminor: h.Devminor,
	}
	readRecords(h.PAXRecords, &e)
	switch h.Typeflag {
	case tar.TypeCont, tar.TypeGNUSparse:
		e.Type = Regular
	case tar.TypeLink:
		if e.Linkname, err = cleanName(h.Linkname); err != nil {
			return e, fmt.Errorf("hard link to %s: %w", quoteName(h.Linkname), err)
		}
	}
	e.sparse = e.Type == Regular && IsSparse(h)
	return e, nil
}

// readRecords takes extended attributes out of a header's PAX records.
func readRecords(records map[string]string, e *Entry) {
	for k, v := range records {
		if attr, ok := strings.CutPrefix(k, paxXattr); ok && KeepXattr(attr) {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[attr] = v
		}
	}
}

// paxXattr begins the keys of pax records that hold extended attributes.
const paxXattr = "SCHILY.xattr."

// Limits of what Linux can hold, so that what enters a layer can be unpacked.
const (
	maxOwner      = math.MaxUint32 - 1 // above it is (uid_t)-1, "leave as it is"
	maxMajor      = 1<<12 - 1
	maxMinor      = 1<<20 - 1
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

// checkEntry tells why e cannot be in a layer.
func checkEntry(e *Entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if err := checkPlain(e.Name); err != nil {
		return err
	}
	if e.Name == "." && e.Type != Directory {
		return errors.New("the root is no directory")
	}
	if min(e.UID, e.GID) < 0 || max(int64(e.UID), int64(e.GID)) > maxOwner {
		return fmt.Errorf("owner %d:%d is out of range", e.UID, e.GID)
	}
	for k, v := range e.Xattrs {
		if k == "" || len(k) > maxXattrName || len(v) > maxXattrValue || strings.ContainsAny(k, "=\x00\n") {
			return fmt.Errorf("attribute %s of %d bytes cannot be stored", quoteName(k), len(v))
		}
	}
	return checkType(e)
}

// checkType checks what only some types have.
func checkType(e *Entry) error {
	switch e.Type {
	case Regular:
		if e.Size < 0 {
			return fmt.Errorf("negative size %d", e.Size)
		}
	case Hardlink:
		return checkHardlink(e.Linkname)
	case Symlink:
		if e.Linkname == "" || len(e.Linkname) > maxName || strings.IndexByte(e.Linkname, 0) >= 0 {
			return fmt.Errorf("symbolic link to %s", quoteName(e.Linkname))
		}
	case Char, Block:
		return checkDevice(e)
	case Directory, Fifo, Whiteout:
	default:
		return fmt.Errorf("unknown type %q", byte(e.Type))
	}
	return nil
}

func checkHardlink(to string) error {
	err := checkName(to)
	if err == nil && to == "." {
		err = errors.New("is the root")
	}
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", quoteName(to), err)
	}
	return nil
}

func checkDevice(e *Entry) error {
	if min(e.Devmajor, e.Devminor) < 0 || e.Devmajor > maxMajor || e.Devminor > maxMinor {
		return fmt.Errorf("device %d:%d is out of range", e.Devmajor, e.Devminor)
	}
	if e.Type == Char && e.Devmajor == 0 && e.Devminor == 0 {
		return errors.New("device 0:0 is overlayfs's whiteout, not a file of an image")
	}
	return nil
}
