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
	"sort"
	"strings"

	"github.com/ocibuild/ocibuild/cache"
)

// An index file is the magic, a block for each directory, and a CRC-32C of all
// before it. It guards against a torn or rotten file; somebody who can write the
// store needs no index to lie. A block is the length of the directory's name, the
// number of files and the length of all their names; the name of the directory; of
// each file where its name begins, what tells that it is the same, and the digest;
// then the names, sorted, with a slash after each. Numbers are little endian.
const (
	statMagic = "ocibuild stat 3\n"
	blockHead = 3 * 4
	statFixed = 4 + 5*8 + sha256.Size
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// block is what an index file holds of one directory.
type block struct {
	count int
	fixed []byte
	names string
}

// loadIndex reads an index file; one that does not exist is empty.
func loadIndex(file string) (map[string]block, error) {
	data, err := cache.ReadRegular(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stat index: %w", err)
	}
	blocks, err := decodeIndex(data)
	if err != nil {
		return nil, fmt.Errorf("stat index %s: %w", file, err)
	}
	return blocks, nil
}

func decodeIndex(data []byte) (map[string]block, error) {
	if len(data) < len(statMagic)+4 || string(data[:len(statMagic)]) != statMagic {
		return nil, errors.New("not an index of this version")
	}
	body, end := data[:len(data)-4], data[len(data)-4:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(end) {
		return nil, errors.New("checksum does not match")
	}
	blocks := map[string]block{}
	for body = body[len(statMagic):]; len(body) > 0; {
		if len(body) < blockHead {
			return nil, errors.New("block cut short")
		}
		length := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(body[4*i:])) }
		name, count, names := length(0), length(1), length(2)
		if name+count*statFixed+names > uint64(len(body)-blockHead) {
			return nil, errors.New("block cut short")
		}
		take := func(n uint64) []byte {
			part := body[:n:n]
			body = body[n:]
			return part
		}
		take(blockHead)
		dir := string(take(name))
		blocks[dir] = block{count: int(count), fixed: take(count * statFixed), names: string(take(names))}
	}
	return blocks, nil
}

func (b *block) at(i int) []byte { return b.fixed[i*statFixed:][:statFixed] }

func (b *block) base(i int) string {
	start := min(int(binary.LittleEndian.Uint32(b.at(i))), len(b.names))
	name, _, _ := strings.Cut(b.names[start:], "/")
	return name
}

func (b *block) stat(i int) fileStat {
	u := func(n int) uint64 { return binary.LittleEndian.Uint64(b.at(i)[4+8*n:]) }
	return fileStat{size: int64(u(0)), mtime: int64(u(1)), ctime: int64(u(2)), ino: u(3), dev: u(4)}
}

func (b *block) sum(i int) (sum [sha256.Size]byte) {
	copy(sum[:], b.at(i)[statFixed-sha256.Size:])
	return sum
}

// get returns the digest of a file that is what it was.
func (b *block) get(base string, s fileStat) (sum [sha256.Size]byte, ok bool) {
	i, ok := sort.Find(b.count, func(i int) int { return strings.Compare(base, b.base(i)) })
	if !ok || b.stat(i) != s {
		return sum, false
	}
	return b.sum(i), true
}

// encodeBlock appends the block of a directory.
func encodeBlock(b []byte, dir string, files []remembered) []byte {
	length := 0
	for i := range files {
		length += len(files[i].base) + 1
	}
	for _, n := range [...]int{len(dir), len(files), length} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = append(b, dir...)
	start := 0
	for i := range files {
		f := &files[i]
		b = binary.LittleEndian.AppendUint32(b, uint32(start))
		for _, v := range [...]uint64{uint64(f.size), uint64(f.mtime), uint64(f.ctime), f.ino, f.dev} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		b = append(b, f.sum[:]...)
		start += len(f.base) + 1
	}
	for i := range files {
		b = append(append(b, files[i].base...), '/')
	}
	return b
}

// writeIndex does not sync: after a crash a torn index is an empty one.
func writeIndex(file string, blocks iter.Seq2[string, []remembered], temp func(pattern string) (*os.File, error)) (err error) {
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
	for dir, files := range blocks {
		b = encodeBlock(b[:0], dir, files)
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
