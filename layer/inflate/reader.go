package inflate

import (
	"compress/flate"
	"errors"
	"hash/crc32"
	"io"
)

const (
	window = 32 << 10 // how far back a match may reach

	inSize  = 128 << 10 // powers of two: an index is kept in bounds by a mask
	inMask  = inSize - 1
	outSize = 256 << 10
	outMask = outSize - 1

	// slack is how far behind an index an eight byte word may reach.
	slack = 8
	// outLimit is where decoding stops. One round of the fast loop may go beyond it, by some
	// literals, a match of 258 bytes and what its last word is too long.
	outLimit = outSize - 512
)

// state is what comes next in a member.
type state uint8

const (
	atBlock  state = iota // the header of a block
	inStored              // bytes of a stored block
	inCodes               // symbols of a compressed block
	atEnd                 // the trailer
)

// Reader decompresses one gzip stream. It is made by [NewReader].
type Reader struct {
	r       io.Reader
	readErr error // of r; it counts when the bytes before it are used up
	read    int64 // bytes read from r

	// Input: bytes inPos to inEnd of in are to come after the low nbits of bits.
	// The bits above those are zero or those of the bytes to come.
	bits         uint64
	nbits        uint
	inPos, inEnd int

	// Output: out up to pos, of which what was before start is of no use to the
	// member that is being decoded.
	start, pos int

	state  state
	final  bool // the block is the last of its member
	fixed  bool // the tables are those of the fixed codes
	stored int  // bytes left of a stored block

	crc, size uint32 // of the member so far
	err       error
	rest      []byte // decoded and not yet read

	in      [inSize + slack]byte
	out     [outSize + slack]byte
	lit     litTable
	dist    distTable
	pre     [1 << preBits]entry
	lengths [maxLit + maxDist]uint8
	extra   uint32 // the extra bits of the code read last
}

// NewReader returns a Reader of r whose first header has been read. As with
// compress/gzip, an empty stream is io.EOF.
func NewReader(r io.Reader) (*Reader, error) {
	z := &Reader{r: r}
	if err := z.header(); err != nil {
		return nil, err
	}
	return z, nil
}

// Read implements [io.Reader].
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(z.rest) == 0 {
		var err error
		if z.rest, err = z.Next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// WriteTo implements [io.WriterTo]. It hands out the Reader's own buffer, some
// hundred KiB at a time.
func (z *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		p, err := z.Next()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(p)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Next returns the bytes that come next, at least one, or an error, which is
// io.EOF at the end. They are the Reader's own and stay what they are until
// it is used again.
func (z *Reader) Next() ([]byte, error) {
	if p := z.rest; len(p) > 0 {
		z.rest = nil
		return p, nil
	}
	for z.err == nil {
		from := z.makeRoom()
		z.err = z.decode()
		p := z.out[from:z.pos]
		z.crc = crc32.Update(z.crc, crc32.IEEETable, p)
		z.size += uint32(len(p))
		if z.err == nil && z.state == atEnd {
			z.err = z.trailer()
		}
		if len(p) > 0 {
			return p, nil
		}
	}
	return nil, z.err
}

// Close implements [io.Closer]. It does nothing, and leaves the underlying
// reader open.
func (z *Reader) Close() error { return nil }

// makeRoom moves the window to the front of out when the rest of it is used.
func (z *Reader) makeRoom() int {
	if z.pos >= outLimit {
		keep := min(window, z.pos-z.start)
		copy(z.out[:keep], z.out[z.pos-keep:z.pos])
		z.start, z.pos = 0, keep
	}
	return z.pos
}

// decode goes on until out is full or the member ends.
func (z *Reader) decode() error {
	for z.pos < outLimit && z.state != atEnd {
		var err error
		switch z.state {
		case inStored:
			err = z.copyStored()
		case inCodes:
			err = z.symbols()
		default:
			err = z.block()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// block reads the header of a block.
func (z *Reader) block() error {
	h, err := z.take(3)
	if err != nil {
		return err
	}
	z.final = h&1 != 0
	switch h >> 1 {
	case 0:
		z.state = inStored
		return z.storedHeader()
	case 1:
		z.state = inCodes
		z.fixedCodes()
		return nil
	case 2:
		z.state = inCodes
		return z.dynamicCodes()
	}
	return z.corrupt()
}

func (z *Reader) endBlock() {
	z.state = atBlock
	if z.final {
		z.state = atEnd
	}
}

func (z *Reader) storedHeader() error {
	z.align()
	n, err := z.take(32)
	if err != nil {
		return err
	}
	if uint16(n) != ^uint16(n>>16) {
		return z.corrupt()
	}
	if z.stored = int(uint16(n)); z.stored == 0 {
		z.endBlock()
	}
	return nil
}

func (z *Reader) copyStored() error {
	if z.inPos == z.inEnd {
		if err := z.more(); err != nil {
			return noEOF(err)
		}
	}
	n := copy(z.out[z.pos:outSize], z.in[z.inPos:min(z.inEnd, z.inPos+z.stored)])
	z.inPos += n
	z.pos += n
	if z.stored -= n; z.stored == 0 {
		z.endBlock()
	}
	return nil
}

// take reads n bits, at most 32.
func (z *Reader) take(n uint) (uint32, error) {
	for z.nbits < n {
		if err := z.pull(); err != nil {
			return 0, err
		}
	}
	v := uint32(z.bits & (1<<n - 1))
	z.drop(n)
	return v, nil
}

func (z *Reader) drop(n uint) {
	z.bits >>= n
	z.nbits -= n
}

// pull adds a byte of input to the bits.
func (z *Reader) pull() error {
	if z.inPos == z.inEnd {
		if err := z.more(); err != nil {
			return noEOF(err)
		}
	}
	z.bits |= uint64(z.in[z.inPos&inMask]) << (z.nbits & 63)
	z.inPos++
	z.nbits += 8
	return nil
}

// more reads input, at least one byte, into the room in front of which the bytes
// still unused have moved.
func (z *Reader) more() error {
	z.inEnd = copy(z.in[:], z.in[z.inPos:z.inEnd])
	z.inPos = 0
	for range 100 { // a Reader may return nothing, but not for ever
		if z.readErr != nil {
			return z.readErr
		}
		var n int
		n, z.readErr = z.r.Read(z.in[z.inEnd:inSize])
		if n > 0 {
			z.inEnd += n
			z.read += int64(n)
			return nil
		}
	}
	z.readErr = io.ErrNoProgress
	return z.readErr
}

// align drops the rest of a byte. Between symbols there are never more than
// that, so input goes on at inPos.
func (z *Reader) align() { z.bits, z.nbits = 0, 0 }

func (z *Reader) corrupt() error {
	return flate.CorruptInputError(z.read - int64(z.inEnd-z.inPos) - int64(z.nbits/8))
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
