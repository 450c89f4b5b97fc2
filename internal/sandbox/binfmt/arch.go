package binfmt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// processor is what an ELF header says of one, and its smallest program.
type processor struct {
	qemu    string // how QEMU calls it
	bits    int
	order   order
	machine uint16 // e_machine
	flags   uint32 // e_flags
	exit    []byte // code that ends the process with status 0
}

type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var (
	little order = binary.LittleEndian
	big    order = binary.BigEndian
)

// processors are those that BuildKit has emulators for.
var processors = map[string]processor{
	"386":      {"i386", 32, little, 3, 0, words(little, 0xc031db31, 0x80cd40)},
	"amd64":    {"x86_64", 64, little, 62, 0, words(little, 0x3cb8ff31, 0x0f000000, 0x05)},
	"arm":      {"arm", 32, little, 40, 0x05000000, words(little, 0xe3a00000, 0xe3a07001, 0xef000000)},
	"arm64":    {"aarch64", 64, little, 183, 0, words(little, 0xd2800000, 0xd2800ba8, 0xd4000001)},
	"loong64":  {"loongarch64", 64, little, 258, 0x43, words(little, 0x02800004, 0x0281740b, 0x002b0000)},
	"mips64":   {"mips64", 64, big, 8, 0x60000000, words(big, 0x24040000, 0x240213c2, 0x0000000c)},
	"mips64le": {"mips64el", 64, little, 8, 0x60000000, words(little, 0x24040000, 0x240213c2, 0x0000000c)},
	"ppc64le":  {"ppc64le", 64, little, 21, 2, words(little, 0x38600000, 0x38000001, 0x44000002)},
	"riscv64":  {"riscv64", 64, little, 243, 0, words(little, 0x00000513, 0x05d00893, 0x00000073)},
	"s390x":    {"s390x", 64, big, 22, 0, words(big, 0xa7290000, 0x0a010000)},
}

func words(o order, code ...uint32) []byte {
	var out []byte
	for _, w := range code {
		out = o.AppendUint32(out, w)
	}
	return out
}

// rule says, in the syntax of binfmt_misc, which programs are for the processor.
// It leaves out the interpreter and the flags, which come after it.
func (p *processor) rule(arch string) string {
	magic := p.program()[:20] // up to e_machine
	mask := bytes.Repeat([]byte{0xff}, len(magic))
	mask[7], mask[8] = 0, 0 // whatever system's conventions it follows
	if p.order == little {  // fixed or position-independent: e_type 2 or 3
		mask[16] = 0xfe
	} else {
		mask[17] = 0xfe
	}
	return fmt.Sprintf(":qemu-%s:M::%s:%s:", arch, escaped(magic), escaped(mask))
}

func escaped(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}

// Program returns the smallest program of an architecture, for trying whether
// its programs run here: it does nothing and ends with status 0. It is nil when
// nothing is known of the architecture.
func Program(arch string) []byte {
	p, ok := processors[arch]
	if !ok {
		return nil
	}
	return p.program()
}

// program is an ELF file with one segment, which is the file itself.
func (p *processor) program() []byte {
	const base, align = 0x400000, 0x10000 // some processors have pages of 64 KiB
	class, data, fileHeader, segment := byte(2), byte(1), 64, 56
	o := p.order
	word := o.AppendUint64
	if p.bits == 32 {
		class, fileHeader, segment = 1, 52, 32
		word = func(b []byte, v uint64) []byte { return o.AppendUint32(b, uint32(v)) }
	}
	if o == big {
		data = 2
	}
	headers := fileHeader + segment
	size := uint64(headers + len(p.exit))

	out := append([]byte("\x7fELF"), class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	out = o.AppendUint16(out, 2) // e_type: a program at a fixed address
	out = o.AppendUint16(out, p.machine)
	out = o.AppendUint32(out, 1)
	out = word(out, base+uint64(headers)) // where it begins
	out = word(out, uint64(fileHeader))   // where the segment is described
	out = word(out, 0)
	out = o.AppendUint32(out, p.flags)
	for _, n := range []int{fileHeader, segment, 1, 0, 0, 0} {
		out = o.AppendUint16(out, uint16(n))
	}

	const load, readExecute = 1, 5
	out = o.AppendUint32(out, load)
	if p.bits == 64 {
		out = o.AppendUint32(out, readExecute)
	}
	for _, n := range []uint64{0, base, base, size, size} {
		out = word(out, n)
	}
	if p.bits == 32 {
		out = o.AppendUint32(out, readExecute)
	}
	out = word(out, align)
	return append(out, p.exit...)
}
