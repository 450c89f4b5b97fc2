package layer

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

const tarBlock = 512

// tarEnd is the end of an archive: two blocks of zeros.
var tarEnd [2 * tarBlock]byte

// Fields of a ustar header (POSIX pax, "ustar Interchange Format"), as [from, to).
var (
	fieldName     = [2]int{0, 100}
	fieldMode     = [2]int{100, 108}
	fieldUID      = [2]int{108, 116}
	fieldGID      = [2]int{116, 124}
	fieldSize     = [2]int{124, 136}
	fieldTime     = [2]int{136, 148}
	fieldSum      = [2]int{148, 156}
	fieldType     = 156
	fieldLinkname = [2]int{157, 257}
	fieldMagic    = [2]int{257, 265}
	fieldMajor    = [2]int{329, 337}
	fieldMinor    = [2]int{337, 345}
	fieldPrefix   = [2]int{345, 500}
)

// appendHeader appends the headers of e: one ustar block, and before it a pax
// header if something does not fit. It is not archive/tar's writer, because the
// headers of a layer of many small files cost more there than their hashes.
func appendHeader(dst []byte, e *Entry) ([]byte, error) {
	var h header
	h.setName(tarName(e))
	typ := e.Type
	if typ == Whiteout {
		typ = Regular
	}
	h.block[fieldType] = byte(typ)
	h.octal(fieldMode, int64(e.Mode), "")
	h.octal(fieldUID, int64(e.UID), "uid")
	h.octal(fieldGID, int64(e.GID), "gid")
	h.octal(fieldSize, e.Size, "size")
	h.octal(fieldTime, e.ModTime, "mtime")
	h.octal(fieldMajor, e.Devmajor, "")
	h.octal(fieldMinor, e.Devminor, "")
	if !h.str(fieldLinkname, e.Linkname) {
		h.put("linkpath", e.Linkname)
	}
	for k, v := range e.Xattrs {
		h.put(paxXattr+k, v)
	}
	if h.err != nil {
		return nil, h.err
	}
	if len(h.pax) > 0 {
		dst = appendPax(dst, h.pax, path.Base(e.Name))
	}
	return append(dst, h.seal()...), nil
}

// tarName is how an entry is called in the tar.
func tarName(e *Entry) string {
	switch e.Type {
	case Directory:
		return e.Name + "/"
	case Whiteout:
		dir, base := path.Split(e.Name)
		return dir + whPrefix + base
	}
	return e.Name
}

type header struct {
	block [tarBlock]byte
	pax   map[string]string // nil as long as everything fits
	size  int               // of pax
	err   error
}

// maxPax is what readers accept of pax records for one entry.
const maxPax = 1 << 20

func (h *header) put(key, value string) {
	if h.pax == nil {
		h.pax = map[string]string{}
	}
	h.pax[key] = value
	if h.size += len(key) + len(value) + 16; h.size > maxPax {
		h.err = errors.New("attributes are too large for a tar header")
	}
}

// setName puts name into the name field, into name and prefix, or into a pax
// record. The fields are kept ASCII: what else means there was never agreed on.
func (h *header) setName(name string) {
	if h.str(fieldName, name) {
		return
	}
	if i := splitName(name); i > 0 {
		h.str(fieldPrefix, name[:i])
		h.str(fieldName, name[i+1:])
		return
	}
	h.put("path", name)
	h.str(fieldName, shortASCII(strings.TrimSuffix(name, "/")))
}

// splitName returns where the slash is at which a name is divided among the fields
// prefix and name, or 0.
func splitName(name string) int {
	before, room := fieldPrefix[1]-fieldPrefix[0], fieldName[1]-fieldName[0]
	if len(name) > before+1+room || !isASCII(name) {
		return 0
	}
	for i := len(name) - 2; i > 0 && len(name)-i-1 <= room; i-- {
		if name[i] == '/' && i <= before {
			return i
		}
	}
	return 0
}

// str fills a field, unless s does not fit.
func (h *header) str(at [2]int, s string) bool {
	if len(s) > at[1]-at[0] || !isASCII(s) {
		return false
	}
	clear(h.block[at[0]:at[1]])
	copy(h.block[at[0]:], s)
	return true
}

// octal fills a number field; what does not fit goes to the pax record key.
func (h *header) octal(at [2]int, v int64, key string) {
	digits := at[1] - at[0] - 1
	if v < 0 || v >= 1<<(3*digits) {
		if key == "" || (v < 0 && key != "mtime") {
			h.err = fmt.Errorf("number %d does not fit into a tar header", v)
			return
		}
		h.put(key, strconv.FormatInt(v, 10))
		v = 0
	}
	for i := at[0] + digits - 1; i >= at[0]; i-- {
		h.block[i] = '0' + byte(v&7)
		v >>= 3
	}
}

func (h *header) seal() []byte {
	copy(h.block[fieldMagic[0]:], "ustar\x0000")
	copy(h.block[fieldSum[0]:fieldSum[1]], "        ")
	var sum int64
	for _, c := range h.block {
		sum += int64(c)
	}
	h.octal([2]int{fieldSum[0], fieldSum[1] - 1}, sum, "")
	h.block[fieldSum[1]-2] = 0
	return h.block[:]
}

// appendPax appends a pax header with its records, padded.
func appendPax(dst []byte, records map[string]string, base string) []byte {
	var data []byte
	for _, k := range slices.Sorted(maps.Keys(records)) {
		data = appendPaxRecord(data, k, records[k])
	}
	var h header
	h.str(fieldName, "PaxHeaders/"+shortASCII(base))
	h.block[fieldType] = 'x'
	h.octal(fieldMode, 0o644, "")
	h.octal(fieldSize, int64(len(data)), "")
	for _, at := range [][2]int{fieldUID, fieldGID, fieldTime, fieldMajor, fieldMinor} {
		h.octal(at, 0, "")
	}
	dst = append(dst, h.seal()...)
	dst = append(dst, data...)
	return append(dst, tarEnd[:padding(int64(len(data)))]...)
}

// appendPaxRecord appends "length key=value\n", whose length counts itself.
func appendPaxRecord(dst []byte, key, value string) []byte {
	rest := len(key) + len(value) + 3
	n := rest + len(strconv.Itoa(rest))
	n = rest + len(strconv.Itoa(n))
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, ' ')
	dst = append(append(dst, key...), '=')
	return append(append(dst, value...), '\n')
}

// padding is what fills the last block of n bytes.
func padding(n int64) int64 { return -n & (tarBlock - 1) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// shortASCII is a stand-in for a name that only a pax record holds whole.
func shortASCII(s string) string {
	b := bytes.Map(func(r rune) rune {
		if r >= 0x80 {
			return '_'
		}
		return r
	}, []byte(s[:min(len(s), 80)]))
	return string(b)
}
