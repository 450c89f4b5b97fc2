package inflate

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Bits of the flags in the header of a member.
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagReserved  = 7 << 5
)

// maxString bounds a name or comment, with the NUL at its end, as compress/gzip
// does.
const maxString = 512

// header reads what precedes the compressed data of a member and makes ready
// for it. It returns io.EOF if there is no further member.
func (z *Reader) header() error {
	z.crc = 0
	var h [10]byte
	if err := z.bytes(h[:]); err != nil {
		return err
	}
	flags := h[3]
	if h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 {
		return gzip.ErrHeader
	}
	if err := z.optional(flags); err != nil {
		return noEOF(err)
	}
	if flags&flagReserved != 0 {
		return gzip.ErrHeader
	}
	z.state, z.crc, z.size = atBlock, 0, 0
	z.start, z.pos = 0, 0
	return nil
}

// optional skips the parts of a header that flags tells of.
func (z *Reader) optional(flags byte) error {
	var b [2]byte
	if flags&flagExtra != 0 {
		if err := z.bytes(b[:]); err != nil {
			return err
		}
		for n := binary.LittleEndian.Uint16(b[:]); n > 0; n-- {
			if err := z.bytes(b[:1]); err != nil {
				return err
			}
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag == 0 {
			continue
		}
		if err := z.skipString(); err != nil {
			return err
		}
	}
	if flags&flagHeaderCRC != 0 {
		want := uint16(z.crc)
		if err := z.bytes(b[:]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(b[:]) != want {
			return gzip.ErrHeader
		}
	}
	return nil
}

func (z *Reader) skipString() error {
	var b [1]byte
	for range maxString {
		if err := z.bytes(b[:]); err != nil {
			return err
		}
		if b[0] == 0 {
			return nil
		}
	}
	return gzip.ErrHeader
}

// trailer checks what follows the compressed data of a member, and goes on to
// the next.
func (z *Reader) trailer() error {
	z.align()
	crc, size := z.crc, z.size
	var b [8]byte
	if err := z.bytes(b[:]); err != nil {
		return noEOF(err)
	}
	if binary.LittleEndian.Uint32(b[:4]) != crc || binary.LittleEndian.Uint32(b[4:]) != size {
		return gzip.ErrChecksum
	}
	return z.header()
}

// bytes fills p from the input, like [io.ReadFull], and adds it to crc.
func (z *Reader) bytes(p []byte) error {
	for n := 0; n < len(p); {
		if z.inPos == z.inEnd {
			err := z.more()
			if errors.Is(err, io.EOF) && n > 0 {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
		}
		c := copy(p[n:], z.in[z.inPos:z.inEnd])
		z.inPos += c
		n += c
	}
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p)
	return nil
}
