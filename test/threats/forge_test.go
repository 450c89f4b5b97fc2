//go:build linux

package threats

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// entry is one entry of a forged tar: a header that archive/tar can write, or
// bytes that it would not.
type entry struct {
	tar.Header
	body string
	raw  []byte
}

var then = time.Unix(1_500_000_000, 0)

func file(name, body string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)), ModTime: then}, body: body}
}

func executable(name string, body []byte) entry {
	e := file(name, string(body))
	e.Mode = 0o755
	return e
}

func of(kind byte, name string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o755, ModTime: then}}
}

func dir(name string) entry  { return of(tar.TypeDir, name+"/") }
func fifo(name string) entry { return of(tar.TypeFifo, name) }

func symlink(name, to string) entry {
	e := of(tar.TypeSymlink, name)
	e.Linkname = to
	return e
}

func hardlink(name, to string) entry {
	e := of(tar.TypeLink, name)
	e.Linkname = to
	return e
}

func device(kind byte, name string, major, minor int64) entry {
	e := of(kind, name)
	e.Devmajor, e.Devminor, e.Mode = major, minor, 0o666
	return e
}

// with changes an entry.
func (e entry) with(change func(*tar.Header)) entry {
	change(&e.Header)
	return e
}

// pax adds a record to an entry.
func (e entry) pax(key, value string) entry {
	records := map[string]string{key: value}
	for k, v := range e.PAXRecords {
		records[k] = v
	}
	e.PAXRecords = records
	return e
}

func raw(data ...[]byte) entry { return entry{raw: bytes.Join(data, nil)} }

// tarOf packs entries; what archive/tar refuses to write fails the test.
func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	return append(unended(t, entries...), make([]byte, 1024)...)
}

// unended is a tar without its end.
func unended(t testing.TB, entries ...entry) []byte {
	t.Helper()
	data, err := pack(entries)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pack(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	for i := range entries {
		e := &entries[i]
		if e.raw != nil {
			out.Write(e.raw)
			continue
		}
		w := tar.NewWriter(&out)
		if err := w.WriteHeader(&e.Header); err != nil {
			return nil, fmt.Errorf("forge %q: %w", e.Name, err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			return nil, fmt.Errorf("forge %q: %w", e.Name, err)
		}
		if err := w.Flush(); err != nil {
			return nil, fmt.Errorf("forge %q: %w", e.Name, err)
		}
	}
	return out.Bytes(), nil
}

// block is a header of 512 bytes as GNU tar writes it, with a checksum that fits.
// Fields are written at their offset.
func block(kind byte, name, size string, fields map[int]string) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:136], size)
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	for at, s := range fields {
		copy(b[at:], s)
	}
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func octal(n int64) string { return fmt.Sprintf("%011o\x00", n) }

// padded fills the last block.
func padded(data string) []byte {
	return append([]byte(data), make([]byte, -len(data)&511)...)
}

// long is a GNU long name ('L') or long link ('K').
func long(kind byte, name string) []byte {
	return append(block(kind, "././@LongLink", octal(int64(len(name)+1)), map[int]string{257: "ustar  \x00"}), padded(name+"\x00")...)
}

// record is a pax record with its true length.
func record(key, value string) string {
	n := len(key) + len(value) + 3
	for n != len(strconv.Itoa(n))+len(key)+len(value)+3 {
		n = len(strconv.Itoa(n)) + len(key) + len(value) + 3
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// paxBlocks are pax records ('x', or 'g' for all that follows) before a header.
func paxBlocks(kind byte, records string) []byte {
	return append(block(kind, "PaxHeaders/x", octal(int64(len(records))), nil), padded(records)...)
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdOf(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

type tarHeader = tar.Header
