package plan

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz"
)

// newXZ returns a reader of what an xz file holds.
func newXZ(r *bufio.Reader) (io.Reader, error) {
	g := &xzGuard{in: r}
	g.next = g.stream
	return xz.NewReader(g)
}

// xzGuard passes an xz file on as it is, up to a block that asks for a
// dictionary of more than maxWindow bytes: a file of some kilobytes may ask for
// 4 GiB, and package xz gives it what it asks for. To find the blocks it needs
// to know the frame of the format only (xz-file-format, LZMA2's chunks), which
// package xz then checks.
type xzGuard struct {
	in   *bufio.Reader
	head []byte       // comes next
	rest int64        // of what comes then, as it is
	next func() error // reads what comes afterwards

	check   int64  // bytes after each block
	size    int64  // of the block or of the index so far
	records uint64 // of the index, still to come
}

var errXZ = errors.New("malformed xz file")

func (g *xzGuard) Read(p []byte) (int, error) {
	for len(g.head) == 0 && g.rest == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	n, err := g.in.Read(p[:min(int64(len(p)), g.rest)])
	g.rest -= int64(n)
	return n, err
}

// take reads n bytes more into head.
func (g *xzGuard) take(n int) error {
	at := len(g.head)
	g.head = append(g.head, make([]byte, n)...)
	_, err := io.ReadFull(g.in, g.head[at:])
	g.size += int64(n)
	return err
}

// number reads one of variable length into head.
func (g *xzGuard) number() (n uint64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		if err := g.take(1); err != nil {
			return 0, err
		}
		b := g.head[len(g.head)-1]
		if n |= uint64(b&0x7f) << shift; b < 0x80 {
			return n, nil
		}
	}
	return 0, errXZ
}

// stream is the beginning of a stream, padding in front of one, or the end.
func (g *xzGuard) stream() error {
	g.head = g.head[:0]
	if err := g.take(4); err != nil || string(g.head) == "\x00\x00\x00\x00" {
		return err
	}
	err := g.take(8)
	g.check = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[g.head[7]&0x0f]
	g.next = g.block
	return err
}

// block is the header of a block, or the beginning of the index.
func (g *xzGuard) block() error {
	g.head, g.size = g.head[:0], 0
	if err := g.take(1); err != nil {
		return err
	}
	if g.head[0] == 0 {
		var err error
		g.records, err = g.number()
		g.next = g.index
		return err
	}
	if err := g.take((int(g.head[0])+1)*4 - 1); err != nil {
		return err
	}
	g.size, g.next = 0, g.chunk
	return checkDictionary(g.head)
}

// checkDictionary looks for the dictionary in the header of a block.
func checkDictionary(h []byte) error {
	flags, at := h[1], 2
	skip := func() (first byte) {
		if at < len(h) {
			first = h[at]
		}
		for at < len(h) && h[at] >= 0x80 {
			at++
		}
		at++
		return first
	}
	for _, sized := range []byte{0x40, 0x80} {
		if flags&sized != 0 {
			skip()
		}
	}
	if id, size := skip(), skip(); flags&3 != 0 || id != 0x21 || size != 1 || at >= len(h) {
		return fmt.Errorf("an xz file with filters %w", errUnreadable)
	}
	code := h[at]
	if code > 40 {
		return errXZ
	}
	if want := int64(2|code&1) << (code/2 + 11); want > maxWindow {
		return fmt.Errorf("an xz file that wants %d bytes of memory, more than %d, %w", want, maxWindow, errUnreadable)
	}
	return nil
}

// chunk is the header of one of a block's chunks, or the block's end.
func (g *xzGuard) chunk() error {
	g.head = g.head[:0]
	if err := g.take(1); err != nil {
		return err
	}
	var err error
	switch kind := g.head[0]; {
	case kind == 0:
		g.rest, g.next = -g.size&3+g.check, g.block
		return nil
	case kind < 3:
		err = g.take(2)
		g.rest = number16(g.head[1:]) + 1
	case kind >= 0xc0:
		err = g.take(5)
		g.rest = number16(g.head[3:]) + 1
	case kind >= 0x80:
		err = g.take(4)
		g.rest = number16(g.head[3:]) + 1
	default:
		return errXZ
	}
	g.size += g.rest
	return err
}

func number16(b []byte) int64 { return int64(b[0])<<8 | int64(b[1]) }

// index is one record of the index, or its end and that of the stream.
func (g *xzGuard) index() error {
	g.head = g.head[:0]
	if g.records == 0 {
		const checksum, footer = 4, 12
		g.rest, g.next = -g.size&3+checksum+footer, g.stream
		return nil
	}
	g.records--
	_, err := g.number()
	if err == nil {
		_, err = g.number()
	}
	return err
}
