package inflate

import "math/bits"

const (
	maxLit  = 286 // symbols for literals and lengths that may occur
	maxDist = 30
	endCode = 256 // the symbol that ends a block

	maxLen = 15 // bits of a code

	// Codes of up to so many bits are found in one step.
	litBits  = 11
	distBits = 8
	preBits  = 7
)

// An entry of a table tells what a code means:
//
//	bits 0–5    how many bits to drop: those of the code and the extra bits
//	bits 8–11   the bits of the code alone; of a subtable those of its index
//	bits 12–15  what it is, see below
//	bits 16–31  what the extra bits are added to, the literal, or where the
//	            subtable starts
//
// An entry in a subtable counts its bits without those of the main table.
type entry = uint32

const (
	isLiteral = 1 << 15
	isSpecial = 1 << 14 // neither literals nor a length or distance to read
	isLink    = 1 << 13 // special: a subtable
	isEnd     = 1 << 12 // special: the end of the block
	isInvalid = isSpecial
)

// The tables hold the main table and its subtables. Their sizes are powers of two,
// for the sake of the mask that bounds an index; 2342 and 402 entries are what the worst
// codes need, as computed by zlib's enough.c.
type (
	litTable  [4096]entry
	distTable [512]entry
)

// What each symbol means, without the bits of its code.
var (
	litMeaning  = makeLitMeaning()
	distMeaning = makeDistMeaning()
	preMeaning  = makePreMeaning()
)

func makeLitMeaning() (m [288]entry) {
	for i := range endCode {
		m[i] = isLiteral | entry(i)<<16
	}
	m[endCode] = isSpecial | isEnd
	base := entry(3)
	for i := endCode + 1; i < 285; i++ {
		extra := max(0, entry(i-261)/4)
		if i < 265 {
			extra = 0
		}
		m[i] = base<<16 | extra
		base += 1 << extra
	}
	m[285] = 258 << 16
	m[286], m[287] = isInvalid, isInvalid
	return m
}

func makeDistMeaning() (m [32]entry) {
	base := entry(1)
	for i := range maxDist {
		extra := entry(max(0, i/2-1))
		m[i] = base<<16 | extra
		base += 1 << extra
	}
	m[30], m[31] = isInvalid, isInvalid
	return m
}

func makePreMeaning() (m [19]entry) {
	for i := range m {
		m[i] = entry(i) << 16
	}
	return m
}

// meant adds a code of n bits to the meaning of its symbol.
func meant(meaning entry, n int) entry {
	if meaning&isSpecial != 0 && meaning&isEnd == 0 {
		return meaning // nothing is dropped before an error
	}
	return meaning + entry(n)<<8 + entry(n)
}

// buildTable fills table, of which 1<<width entries are the main table, for the
// code with these lengths. It tells whether there is such a code: it must be
// complete, but for no code at all or a single one of one bit.
func buildTable(table []entry, width int, lengths []uint8, meaning []entry) bool {
	var b builder
	b.table, b.width, b.meaning = table, width, meaning
	if !b.sort(lengths) {
		return false
	}
	if b.used < 1<<maxLen { // incomplete
		clear := table[:1<<width]
		for i := range clear {
			clear[i] = isInvalid
		}
		if b.used > 0 {
			for i := 0; i < len(clear); i += 2 {
				clear[i] = meant(meaning[b.sorted[0]], 1)
			}
		}
		return true
	}
	b.main()
	return true
}

// builder makes a table. Codes are assigned in the order of their
// lengths, and come with their first bit lowest: the next one of the same length is
// had by adding one from the top.
type builder struct {
	table   []entry
	width   int
	meaning []entry

	count  [maxLen + 1]int
	sorted [288]uint16 // symbols that have a code, shorter ones first
	used   int         // of the 1<<maxLen codes of maxLen bits, taken by a code
}

func (b *builder) sort(lengths []uint8) bool {
	for _, n := range lengths {
		b.count[n&maxLen]++
	}
	b.count[0] = 0
	var at [maxLen + 1]int
	next := 0
	for n := 1; n <= maxLen; n++ {
		at[n] = next
		next += b.count[n]
		b.used += b.count[n] << (maxLen - n)
	}
	for i, n := range lengths {
		if n != 0 {
			b.sorted[at[n&maxLen]] = uint16(i)
			at[n&maxLen]++
		}
	}
	switch b.used {
	case 0, 1 << maxLen:
		return true
	case 1 << (maxLen - 1):
		return b.count[1] == 1
	}
	return false
}

// main fills the table for a complete code.
func (b *builder) main() {
	code, size := 0, 1 // of the part of the main table that is filled
	next := 0
	for n := 1; n <= b.width; n++ {
		// A longer code: what is there says the same whatever the next bit.
		copy(b.table[size:2*size], b.table[:size])
		size *= 2
		for range b.count[n] {
			b.table[code] = meant(b.meaning[b.sorted[next]], n)
			next++
			code = following(code, n)
		}
	}
	b.subtables(code, next)
}

// subtables fills what comes behind the main table for codes longer than it is
// wide.
func (b *builder) subtables(code, next int) {
	end := 1 << b.width
	prefix, start, size := -1, 0, 0
	for n := b.width + 1; n <= maxLen; n++ {
		for left := b.count[n]; left > 0; left-- {
			if p := code & (1<<b.width - 1); p != prefix {
				prefix, start = p, end
				k := b.depth(n, left)
				size = 1 << k
				end += size
				b.table[p] = isSpecial | isLink | entry(start)<<16 | entry(k)<<8 | entry(b.width)
			}
			e := meant(b.meaning[b.sorted[next]], n-b.width)
			for i := code >> b.width; i < size; i += 1 << (n - b.width) {
				b.table[start+i] = e
			}
			next++
			code = following(code, n)
		}
	}
}

// depth tells how many bits the index of a subtable has whose first code is n bits long,
// one of left such codes that remain.
func (b *builder) depth(n, left int) int {
	k := n - b.width
	for filled := left; filled < 1<<k && k+b.width < maxLen; {
		k++
		filled = filled<<1 + b.count[b.width+k]
	}
	return k
}

// following returns the code of n bits after code.
func following(code, n int) int {
	zeros := uint(code) ^ (1<<n - 1)
	if zeros == 0 {
		return 0 // it was the last
	}
	bit := 1 << (bits.Len(zeros) - 1)
	return code&(bit-1) | bit
}
