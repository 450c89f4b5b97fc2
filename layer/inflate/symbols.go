package inflate

import "encoding/binary"

// fastInput is how many bytes one round of the fast loop may load.
const fastInput = 24

// symbols decodes a compressed block, until it ends, or out is full.
func (z *Reader) symbols() error {
	for z.pos < outLimit && z.state == inCodes {
		if z.inEnd-z.inPos < fastInput && z.readErr == nil {
			_ = z.more() // if that fails, what is there may do
		}
		var err error
		if z.inEnd-z.inPos >= fastInput {
			err = z.fast()
		} else {
			err = z.careful()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// careful decodes one symbol near the end of the input.
func (z *Reader) careful() error {
	e, err := z.code(z.lit[:], litBits)
	if err != nil {
		return err
	}
	switch {
	case e&isLiteral != 0:
		z.out[z.pos] = byte(e >> 16)
		z.pos++
		return nil
	case e&isEnd != 0:
		z.endBlock()
		return nil
	case e&isSpecial != 0:
		return z.corrupt()
	}
	length := int(e>>16) + int(z.extra)
	if e, err = z.code(z.dist[:], distBits); err != nil {
		return err
	}
	dist := int(e>>16) + int(z.extra)
	if e&isSpecial != 0 || dist > z.pos-z.start {
		return z.corrupt()
	}
	for range length {
		z.out[z.pos] = z.out[z.pos-dist]
		z.pos++
	}
	return nil
}

// fast decodes symbols as long as there is plenty of input and room: z.in from
// in to in+fastInput, and 512 bytes of z.out. Every index is masked, which lets the
// compiler see, and prove, that it is in bounds; and costs less than checks.
// It calls nothing in the loop but what is inlined, and pattern: a call puts the
// variables it lives by into memory.
func (z *Reader) fast() (err error) {
	bits, nbits := z.bits, z.nbits // of nbits the lower six bits count
	in, pos := uint(z.inPos), uint(z.pos)
	inLimit := uint(z.inEnd) - fastInput
	for in <= inLimit && pos < outLimit {
		// At least 56 bits, as whole bytes; what is above them comes again.
		bits |= z.input(in) << (nbits & 63)
		in += (nbits ^ 63) >> 3 & 7
		nbits |= 56
		e := z.lit[bits&(1<<litBits-1)]
		if e&isLiteral != 0 {
			z.out[pos&outMask] = byte(e >> 16)
			pos++
			bits >>= e & 63
			nbits -= uint(e)
			e = z.lit[bits&(1<<litBits-1)]
			if e&isLiteral != 0 {
				z.out[pos&outMask] = byte(e >> 16)
				pos++
				bits >>= e & 63
				nbits -= uint(e)
				e = z.lit[bits&(1<<litBits-1)]
				if e&isLiteral != 0 {
					z.out[pos&outMask] = byte(e >> 16)
					pos++
					bits >>= e & 63
					nbits -= uint(e)
					continue
				}
			}
			// A length and its distance take up to 48 bits.
			bits |= z.input(in) << (nbits & 63)
			in += (nbits ^ 63) >> 3 & 7
			nbits |= 56
		}
		if e&isSpecial != 0 {
			if e&isLink != 0 {
				bits >>= litBits
				nbits -= litBits
				e = z.lit[linked(e, bits)&uint64(len(z.lit)-1)]
			}
			if e&isLiteral != 0 {
				z.out[pos&outMask] = byte(e >> 16)
				pos++
				bits >>= e & 63
				nbits -= uint(e)
				continue
			}
			if e&isSpecial != 0 {
				bits >>= e & 63
				nbits -= uint(e)
				err = z.special(e)
				break
			}
		}
		length := value(e, bits)
		bits >>= e & 63
		nbits -= uint(e)
		e = z.dist[bits&(1<<distBits-1)]
		if e&isLink != 0 {
			bits >>= distBits
			nbits -= distBits
			e = z.dist[linked(e, bits)&uint64(len(z.dist)-1)]
		}
		dist := value(e, bits)
		bits >>= e & 63
		nbits -= uint(e)
		if dist > pos-uint(z.start) || e&isSpecial != 0 {
			err = z.corrupt()
			break
		}
		if dist >= 8 {
			z.repeat(pos, pos-dist)
			for n := uint(16); n < length; n += 16 {
				z.repeat(pos+n, pos+n-dist)
			}
		} else {
			z.pattern(pos, dist, length)
		}
		pos += length
	}
	z.leave(bits, nbits&63, in, pos)
	return err
}

// leave ends a fast loop: whole bytes go back to the input.
func (z *Reader) leave(bits uint64, nbits, in, pos uint) {
	z.inPos, z.pos = int(in-nbits>>3), int(pos)
	z.nbits = nbits & 7
	z.bits = bits & (1<<z.nbits - 1)
}

// special does what an entry says that is neither literal nor length.
func (z *Reader) special(e entry) error {
	if e&isEnd == 0 {
		return z.corrupt()
	}
	z.endBlock()
	return nil
}

// linked returns the index in the table of what e, a link, leads to.
func linked(e entry, bits uint64) uint64 {
	return uint64(e>>16) + bits&(1<<(e>>8&15)-1)
}

// value returns the length or distance whose entry is e.
func value(e entry, bits uint64) uint {
	return uint(e>>16) + uint(bits&(1<<(e&63)-1)>>(e>>8&15))
}

func (z *Reader) input(at uint) uint64 { return binary.LittleEndian.Uint64(z.in[at&inMask:]) }

// repeat copies 16 bytes, in two words, so from may be 8 bytes before to.
func (z *Reader) repeat(to, from uint) {
	binary.LittleEndian.PutUint64(z.out[to&outMask:], binary.LittleEndian.Uint64(z.out[from&outMask:]))
	to, from = to+8, from+8
	binary.LittleEndian.PutUint64(z.out[to&outMask:], binary.LittleEndian.Uint64(z.out[from&outMask:]))
}

// steps tells how many bytes of a word a pattern of so many bytes fills evenly.
var steps = [8]uint{1: 8, 2: 8, 3: 6, 4: 8, 5: 5, 6: 6, 7: 7}

// pattern repeats the last dist bytes before pos, fewer than 8. It may write a
// word too much.
func (z *Reader) pattern(pos, dist, length uint) {
	v := binary.LittleEndian.Uint64(z.out[(pos-dist)&outMask:])
	n := dist * 8
	v &= 1<<(n&63) - 1
	for ; n < 64; n *= 2 {
		v |= v << (n & 63)
	}
	step := steps[dist&7]
	for end := pos + length; pos < end; pos += step {
		binary.LittleEndian.PutUint64(z.out[pos&outMask:], v)
	}
}
