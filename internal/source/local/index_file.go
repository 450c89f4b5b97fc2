package local

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/ocibuild/ocibuild/cache"
)

// An index file is the magic, the entries, and a CRC-32C of all before it. It
// guards against a torn or rotten file; somebody who can write the store needs no
// index to lie. Numbers are little endian.
const (
	statMagic = "ocibuild stat 2\n"
	statFixed = 4 + 5*8 + 1 + sha256.Size // length of name, fileStat, flags (none today), digest
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// loadIndex reads an index file; one that does not exist is empty.
func loadIndex(file string) ([]indexEntry, error) {
	data, err := cache.ReadRegular(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stat index: %w", err)
	}
	entries, err := decodeIndex(data)
	if err != nil {
		return nil, fmt.Errorf("stat index %s: %w", file, err)
	}
	return entries, nil
}

func decodeIndex(data []byte) ([]indexEntry, error) {
	if len(data) < len(statMagic)+4 || string(data[:len(statMagic)]) != statMagic {
		return nil, errors.New("not an index of this version")
	}
	body, end := data[:len(data)-4], data[len(data)-4:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(end) {
		return nil, errors.New("checksum does not match")
	}
	body = body[len(statMagic):]
	count, size := 0, 0
	for e, name := range records(body) {
		if e == nil {
			return nil, errors.New("entry cut short")
		}
		count, size = count+1, size+len(name)
	}
	var text strings.Builder // of all names: one allocation
	text.Grow(size)
	entries := make([]indexEntry, 0, count)
	for e, name := range records(body) {
		text.Write(name)
		entries = append(entries, indexEntry{name: text.String()[text.Len()-len(name):]}) // it has room: what was given out stays
		entries[len(entries)-1].decode(e)
	}
	return entries, nil
}

// records yields the fixed part of each entry, and its name; nil for one that is cut short.
func records(body []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(e, name []byte) bool) {
		for len(body) > 0 {
			if len(body) < statFixed || uint64(len(body)-statFixed) < uint64(binary.LittleEndian.Uint32(body)) {
				yield(nil, nil)
				return
			}
			end := statFixed + int(binary.LittleEndian.Uint32(body))
			if !yield(body[4:statFixed], body[statFixed:end]) {
				return
			}
			body = body[end:]
		}
	}
}

func (e *indexEntry) decode(b []byte) {
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	e.size, e.mtime, e.ctime = int64(u(0)), int64(u(1)), int64(u(2))
	e.ino, e.dev = u(3), u(4)
	copy(e.sum[:], b[41:])
}

func (e *indexEntry) encode(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.name)))
	for _, v := range [...]uint64{uint64(e.size), uint64(e.mtime), uint64(e.ctime), e.ino, e.dev} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, 0)
	b = append(b, e.sum[:]...)
	return append(b, e.name...)
}

// writeIndex does not sync: after a crash a torn index is an empty one.
func writeIndex(file string, entries iter.Seq[indexEntry], temp func(pattern string) (*os.File, error)) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("stat index: %w", err)
	}
	f, err := temp("stat-*")
	if err != nil {
		return fmt.Errorf("stat index: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("stat index: %w", err)
		}
	}()
	sum := crc32.New(castagnoli)
	w := bufio.NewWriterSize(f, 128<<10)
	both := io.MultiWriter(w, sum)
	b := []byte(statMagic)
	if _, err := both.Write(b); err != nil {
		return err
	}
	for e := range entries {
		b = e.encode(b[:0])
		if _, err := both.Write(b); err != nil {
			return err
		}
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32())); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
