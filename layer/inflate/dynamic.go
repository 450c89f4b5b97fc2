package inflate

// fixedCodes makes the tables of the codes RFC 1951 fixes.
func (z *Reader) fixedCodes() {
	if z.fixed {
		return
	}
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	buildTable(z.lit[:], litBits, lengths[:], litMeaning[:])
	for i := range 32 {
		lengths[i] = 5
	}
	buildTable(z.dist[:], distBits, lengths[:32], distMeaning[:])
	z.fixed = true
}

// preOrder is the order in which the lengths of the code for lengths are given.
var preOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamicCodes reads the codes of a block and makes their tables.
func (z *Reader) dynamicCodes() error {
	z.fixed = false
	h, err := z.take(14)
	if err != nil {
		return err
	}
	nlit, ndist, npre := int(h&31)+257, int(h>>5&31)+1, int(h>>10)+4
	if nlit > maxLit || ndist > maxDist {
		return z.corrupt()
	}
	var pre [19]uint8
	for _, i := range preOrder[:npre] {
		n, err := z.take(3)
		if err != nil {
			return err
		}
		pre[i] = uint8(n)
	}
	if !buildTable(z.pre[:], preBits, pre[:], preMeaning[:]) {
		return z.corrupt()
	}
	lengths := z.lengths[:nlit+ndist]
	if err := z.readLengths(lengths); err != nil {
		return err
	}
	if !buildTable(z.lit[:], litBits, lengths[:nlit], litMeaning[:]) ||
		!buildTable(z.dist[:], distBits, lengths[nlit:], distMeaning[:]) {
		return z.corrupt()
	}
	return nil
}

// repeats are the symbols 16 to 18 of the code for lengths: how many extra bits
// tell the number, from which one.
var repeats = [3]struct{ bits, base uint }{{2, 3}, {3, 3}, {7, 11}}

func (z *Reader) readLengths(lengths []uint8) error {
	for i := 0; i < len(lengths); {
		e, err := z.code(z.pre[:], preBits)
		if err != nil {
			return err
		}
		if e&isSpecial != 0 {
			return z.corrupt()
		}
		symbol := uint8(e >> 16)
		if symbol < 16 {
			lengths[i] = symbol
			i++
			continue
		}
		r := repeats[symbol-16]
		extra, err := z.take(r.bits)
		if err != nil {
			return err
		}
		n := int(r.base) + int(extra)
		if n > len(lengths)-i || symbol == 16 && i == 0 {
			return z.corrupt()
		}
		var value uint8
		if symbol == 16 {
			value = lengths[i-1]
		}
		for range n {
			lengths[i] = value
			i++
		}
	}
	return nil
}

// code reads one code and no byte more than it takes. It returns its entry and leaves
// its extra bits in z.extra.
func (z *Reader) code(table []entry, width uint) (entry, error) {
	for {
		e := table[z.bits&(1<<width-1)]
		n, link := uint(e&63), uint(0)
		if e&isLink != 0 {
			link = n
			e = table[uint64(e>>16)+z.bits>>width&(1<<(e>>8&15)-1)]
			n = uint(e & 63)
		}
		// Of no code at all one bit is wanted, lest the end of the input be called
		// damage.
		invalid := e&isSpecial != 0 && e&isEnd == 0
		if link+n <= z.nbits && (!invalid || z.nbits > 0) {
			z.drop(link)
			z.extra = uint32(z.bits&(1<<n-1)) >> (e >> 8 & 15)
			z.drop(n)
			return e, nil
		}
		if err := z.pull(); err != nil {
			return 0, err
		}
	}
}
