package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// IsSparse tells whether a tar holds less of a file than its size says, in one
// of the four ways that GNU tar and libarchive write it.
func IsSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// OpenSparse reads a sparse file of size bytes, holes included, whose headers
// begin at byte at of an uncompressed tar.
func OpenSparse(raw io.ReaderAt, at, size int64) (io.Reader, error) {
	t := tar.NewReader(io.NewSectionReader(raw, at, 1<<62))
	h, err := t.Next()
	if err == nil && (!IsSparse(h) || h.Size != size) {
		err = errors.New("another file lies there")
	}
	if err != nil {
		return nil, fmt.Errorf("sparse file at byte %d: %w", at, err)
	}
	return t, nil
}

// Content reads the content of an entry of the uncompressed tar raw.
func Content(raw io.ReaderAt, e Entry) (io.Reader, error) {
	if e.sparse {
		return OpenSparse(raw, e.Offset, e.Size)
	}
	return io.NewSectionReader(raw, e.Offset, e.Size), nil
}

// TarPositions is a reader of a tar for archive/tar, and tells where the entries
// lie that come out: archive/tar does not say how long a sparse file is in the tar.
type TarPositions struct {
	r    io.Reader
	n    int64
	head int64    // behind the header block that was read last
	size [12]byte // its size field
	next int64    // where the headers of the next entry begin
	maps int      // blocks of sparse maps in a row
}

// maxMap bounds the map of one sparse file, in bytes: archive/tar keeps it in memory.
const maxMap = 1 << 20

// NewTarPositions returns a reader of r, which is at the start of a tar.
func NewTarPositions(r io.Reader) *TarPositions { return &TarPositions{r: r} }

// Read implements io.Reader. A header is read as one block, and nothing else that
// is one block long looks like it, unless somebody wants to be deceived: then
// OpenSparse finds another file.
func (p *TarPositions) Read(b []byte) (n int, err error) {
	if len(b) != tarBlock {
		n, err = p.r.Read(b)
		p.n, p.maps = p.n+int64(n), 0
		return n, err
	}
	n, err = io.ReadFull(p.r, b)
	p.n += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
		err = nil // it comes again, be it the reader's own or ReadFull's
	}
	if n < tarBlock {
		return n, err
	}
	if p.maps++; p.maps > maxMap/tarBlock {
		return n, fmt.Errorf("sparse map of more than %d bytes", maxMap)
	}
	if bytes.HasPrefix(b[fieldMagic[0]:], []byte("ustar")) {
		p.head, p.maps = p.n, 0
		copy(p.size[:], b[fieldSize[0]:fieldSize[1]])
	}
	return n, err
}

// Offset is how many bytes were read.
func (p *TarPositions) Offset() int64 { return p.n }

// Entry returns where the headers of the entry begin that archive/tar has just
// returned. It must be asked for each entry.
func (p *TarPositions) Entry(h *tar.Header) (start int64) {
	start, p.next, p.maps = p.next, p.n, 0
	switch {
	case IsSparse(h):
		size := p.stored(h)
		if h.Typeflag != tar.TypeGNUSparse { // its map may be a part of the content
			p.next = p.head
		}
		p.next += size + padding(size)
	case h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeCont:
		p.next += h.Size + padding(h.Size)
	}
	return start
}

// stored is how many bytes of the tar a sparse file takes after its headers.
func (p *TarPositions) stored(h *tar.Header) int64 {
	if text, ok := h.PAXRecords["size"]; ok {
		n, _ := strconv.ParseInt(text, 10, 64) // archive/tar has read it too
		return max(n, 0)
	}
	var n int64
	if p.size[0]&0x80 == 0 {
		n, _ = strconv.ParseInt(strings.Trim(string(p.size[:]), " \x00"), 8, 64)
		return max(n, 0)
	}
	for _, c := range p.size[4:] { // binary; no file needs the four bytes before
		n = n<<8 | int64(c)
	}
	return max(n, 0)
}
