package layer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// The stored form, all numbers as varints unless said otherwise:
//
//	magic (its last byte is the version), CRC-32C of the rest (4 bytes)
//	RawSize, Compression, Blob, Groups, outward names
//	count of entries, length of records, records
//	index: count × uint32, little endian
//	whether no directory is opaque (a byte; tables of earlier versions end before it)
//
// A record: flags, type (a byte each), name, mode, uid, gid, mtime, then what
// the type needs, then attributes.
const tocMagic = "ocibtoc\x03"

const (
	flagOpaque = 1 << iota // Entry.Opaque
	flagLinked             // a hard link of the same layer leads here
	flagDigest             // a sha256 follows the offset
	flagXattrs             // attributes follow
	flagBelow              // a hard link to a lower layer, whatever this one calls by that name
	flagPseudo             // while building: stands for an opaque marker only
	flagSparse             // Entry.sparse
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("table of contents is malformed")

// ErrTOCVersion is a table of contents that another version has written.
var ErrTOCVersion = errors.New("table of contents is of another version")

// Encode returns the stored form. DecodeTOC reads it back.
func (t *TOC) Encode() []byte {
	var b bytes.Buffer
	b.Grow(t.records.size() + 4*len(t.index) + 64*len(t.Groups) + 1025)
	_ = t.EncodeTo(&b) // a buffer takes everything
	return b.Bytes()
}

// EncodeTo writes the stored form without a copy of it: that of a million entries
// is large.
func (t *TOC) EncodeTo(w io.Writer) error {
	b := t.encodeHead()
	sum := crc32.New(castagnoli)
	_, _ = sum.Write(b[len(tocMagic)+4:]) // a hash takes everything
	_ = t.encodeBody(sum)
	binary.LittleEndian.PutUint32(b[len(tocMagic):], sum.Sum32())
	if _, err := w.Write(b); err != nil {
		return err
	}
	return t.encodeBody(w)
}

// encodeBody writes the stored form from the records on.
func (t *TOC) encodeBody(w io.Writer) error {
	if err := t.records.write(w); err != nil {
		return err
	}
	part := make([]byte, 0, 16<<10)
	for some := range slices.Chunk(t.index, cap(part)/4) {
		part = part[:0]
		for _, off := range some {
			part = binary.LittleEndian.AppendUint32(part, off)
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	last := []byte{0}
	if t.merges {
		last[0] = 1
	}
	_, err := w.Write(last)
	return err
}

// encodeHead is the stored form up to the records, with room for the checksum.
func (t *TOC) encodeHead() []byte {
	b := make([]byte, 0, 64*len(t.Groups)+1024)
	b = append(b, tocMagic...)
	b = append(b, 0, 0, 0, 0)
	b = binary.AppendUvarint(b, uint64(t.RawSize))
	b = appendString(b, t.Compression)
	b = appendString(b, t.Blob.String())
	b = binary.AppendUvarint(b, uint64(len(t.Groups)))
	for _, g := range t.Groups {
		b = appendDigest(b, g.Digest)
		for _, v := range []int64{g.RawOffset, g.RawSize, g.Offset, g.Size, int64(g.Checksum)} {
			b = binary.AppendUvarint(b, uint64(v))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(t.outward)))
	for _, name := range t.outward {
		b = appendString(b, name)
	}
	b = binary.AppendUvarint(b, uint64(len(t.index)))
	b = binary.AppendUvarint(b, uint64(t.records.size()))
	return b
}

// DecodeTOC reads what Encode returned. It keeps data and checks its shape, so
// that a damaged table is an error here and not a panic later.
func DecodeTOC(data []byte) (*TOC, error) {
	head := len(tocMagic)
	if len(data) < head+4 {
		return nil, errDamaged
	}
	if string(data[:head]) != tocMagic {
		return nil, ErrTOCVersion
	}
	if crc32.Checksum(data[head+4:], castagnoli) != binary.LittleEndian.Uint32(data[head:]) {
		return nil, fmt.Errorf("%w: checksum differs", errDamaged)
	}
	return decodeBody(data[head+4:])
}

// decodeBody must survive any bytes: a checksum keeps accidents out, not malice.
func decodeBody(data []byte) (*TOC, error) {
	d := decoder{b: data}
	t := &TOC{RawSize: int64(d.uvarint()), Compression: string(d.bytes()), Blob: digest.Digest(d.bytes())}
	for range d.count() {
		g := Group{Digest: d.digest()}
		g.RawOffset, g.RawSize = int64(d.uvarint()), int64(d.uvarint())
		g.Offset, g.Size = int64(d.uvarint()), int64(d.uvarint())
		g.Checksum = uint32(d.uvarint())
		t.Groups = append(t.Groups, g)
	}
	for range d.count() {
		t.outward = append(t.outward, string(d.bytes()))
	}
	n := d.count()
	t.records = recordsOf(d.bytes())
	if d.bad || len(d.b) != 4*n && len(d.b) != 4*n+1 {
		return nil, errDamaged
	}
	t.merges = len(d.b) > 4*n && d.b[4*n] == 1
	t.index = make([]uint32, n)
	for i := range t.index {
		t.index[i] = binary.LittleEndian.Uint32(d.b[4*i:])
		if uint64(t.index[i])+2 > uint64(t.records.size()) {
			return nil, errDamaged
		}
	}
	t.narrow()
	return t, nil
}

// kind returns what can be told without decoding an entry.
func (t *TOC) kind(i int) (flags byte, typ Type) {
	off := t.index[i]
	r := t.records.at(off)
	return r[0], Type(r[1])
}

// key returns the sorting key of entry i, without copying it.
func (t *TOC) key(i int) []byte {
	d := decoder{b: t.records.at(t.index[i])[2:]}
	return d.bytes()
}

func (t *TOC) entry(i int) Entry { return t.entryAt(t.index[i]) }

func (t *TOC) entryAt(off uint32) Entry {
	r := t.records.at(off)
	flags, typ := r[0], Type(r[1])
	d := decoder{b: r[2:]}
	e := Entry{Name: keyName(string(d.bytes())), Type: typ, Opaque: flags&flagOpaque != 0, sparse: flags&flagSparse != 0}
	e.Mode, e.UID, e.GID = uint32(d.uvarint()), int(d.uvarint()), int(d.uvarint())
	e.ModTime = d.varint()
	switch typ {
	case Regular:
		e.Size, e.Offset = int64(d.uvarint()), int64(d.uvarint())
		if flags&flagDigest != 0 {
			e.Digest = d.digest()
		}
	case Symlink, Hardlink:
		e.Linkname = string(d.bytes())
	case Char, Block:
		e.Devmajor, e.Devminor = int64(d.uvarint()), int64(d.uvarint())
	}
	if flags&flagXattrs != 0 {
		n := d.count()
		e.Xattrs = make(map[string]string, n)
		for range n {
			k := string(d.bytes())
			e.Xattrs[k] = string(d.bytes())
		}
	}
	return e
}

// appendRecord encodes e, whose fields are what its type allows.
func appendRecord(b []byte, e *Entry, flags byte) []byte {
	if e.Opaque {
		flags |= flagOpaque
	}
	if e.sparse {
		flags |= flagSparse
	}
	if len(e.Digest) != 0 {
		flags |= flagDigest
	}
	if len(e.Xattrs) != 0 {
		flags |= flagXattrs
	}
	b = append(b, flags, byte(e.Type))
	b = appendString(b, nameKey(e.Name))
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	b = binary.AppendVarint(b, e.ModTime)
	switch e.Type {
	case Regular:
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = binary.AppendUvarint(b, uint64(e.Offset))
		if flags&flagDigest != 0 {
			b = appendDigest(b, e.Digest)
		}
	case Symlink, Hardlink:
		b = appendString(b, e.Linkname)
	case Char, Block:
		b = binary.AppendUvarint(b, uint64(e.Devmajor))
		b = binary.AppendUvarint(b, uint64(e.Devminor))
	}
	if flags&flagXattrs != 0 {
		b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
		for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
			b = appendString(b, k)
			b = appendString(b, e.Xattrs[k])
		}
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

const digestPrefix = "sha256:"

// appendDigest stores a sha256 as its 32 bytes.
func appendDigest(b []byte, d digest.Digest) []byte {
	start := len(b)
	b, err := hex.AppendDecode(b, []byte(d[len(digestPrefix):]))
	if err != nil || len(b) != start+32 {
		return append(b[:start], make([]byte, 32)...)
	}
	return b
}

func makeDigest(sum []byte) digest.Digest {
	b := make([]byte, 0, len(digestPrefix)+64)
	return digest.Digest(hex.AppendEncode(append(b, digestPrefix...), sum))
}

// decoder reads varints and strings; whatever is missing reads as zero and sets bad.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	s := d.b[:n:n]
	d.b = d.b[n:]
	return s
}

// count reads a number of things that take a byte each at least, so that a
// damaged one cannot make us allocate.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) digest() digest.Digest {
	if len(d.b) < 32 {
		d.fail()
		return ""
	}
	s := makeDigest(d.b[:32])
	d.b = d.b[32:]
	return s
}

func (d *decoder) fail() { d.b, d.bad = nil, true }
