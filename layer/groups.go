package layer

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"strings"
	"sync"
)

// maxGroupRaw bounds what a table of contents may claim of one group, several
// times what a Writer makes.
const maxGroupRaw = 16 << 20

// NewGroupReader gives random access to the uncompressed tar of a blob that was
// written in groups. It decompresses the groups that are asked for only, and
// keeps a few in memory, shared by all such readers of the process. It is safe
// for concurrent use.
func NewGroupReader(blob io.ReaderAt, t *TOC) (io.ReaderAt, error) {
	name, _, _ := strings.Cut(t.Compression, "/")
	name, _, _ = strings.Cut(name, "-")
	open, ok := decoders[name]
	if !ok {
		return nil, fmt.Errorf("unknown compression %q", t.Compression)
	}
	var raw int64
	for _, g := range t.Groups {
		if g.RawOffset != raw || g.RawSize <= 0 || g.RawSize > maxGroupRaw || g.Offset < 0 || g.Size < 0 {
			return nil, errors.New("groups of the table of contents do not add up")
		}
		raw += g.RawSize
	}
	if raw != t.RawSize {
		return nil, errors.New("groups of the table of contents do not add up")
	}
	return &groupReader{blob: blob, groups: t.Groups, size: t.RawSize, open: open}, nil
}

type groupReader struct {
	blob   io.ReaderAt
	groups []Group
	size   int64
	open   func(io.Reader) (io.ReadCloser, error)
}

func (r *groupReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	n := 0
	for i := r.find(off); n < len(p) && i < len(r.groups); i++ {
		data, err := unpacked.get(r, i)
		if err != nil {
			return n, fmt.Errorf("group at %d: %w", r.groups[i].Offset, err)
		}
		n += copy(p[n:], data[off+int64(n)-r.groups[i].RawOffset:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// find returns the group that holds offset off.
func (r *groupReader) find(off int64) int {
	return sort.Search(len(r.groups), func(i int) bool {
		return r.groups[i].RawOffset+r.groups[i].RawSize > off
	})
}

func (r *groupReader) unpack(i int) ([]byte, error) {
	g := r.groups[i]
	if g.Size > 2*maxGroupRaw {
		return nil, errors.New("larger than any group")
	}
	packed := make([]byte, g.Size)
	if n, err := r.blob.ReadAt(packed, g.Offset); n < len(packed) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	// Not every compression has a checksum of its own.
	if g.Checksum != 0 && crc32.Checksum(packed, castagnoli) != g.Checksum {
		return nil, errors.New("checksum does not match")
	}
	in, err := r.open(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data := make([]byte, g.RawSize)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, err
	}
	// The checksum stands at the end of the member.
	if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, errors.Join(errors.New("longer than its table of contents says"), err)
	}
	return data, nil
}

// unpacked holds the groups used last. It belongs to the process and not to
// each reader, since an image has many layers and memory is one.
var unpacked = groupCache{most: 6}

type groupCache struct {
	most int

	mu     sync.Mutex
	groups []*cachedGroup // the last used first
}

type cachedGroup struct {
	reader *groupReader
	index  int
	once   sync.Once
	data   []byte
	err    error
}

func (c *groupCache) get(r *groupReader, i int) ([]byte, error) {
	g := c.touch(r, i)
	g.once.Do(func() { g.data, g.err = r.unpack(i) })
	if g.err != nil {
		c.drop(g)
	}
	return g.data, g.err
}

func (c *groupCache) touch(r *groupReader, i int) *cachedGroup {
	c.mu.Lock()
	defer c.mu.Unlock()
	var g *cachedGroup
	at := len(c.groups)
	for j, have := range c.groups {
		if have.reader == r && have.index == i {
			g, at = have, j
			break
		}
	}
	if g == nil {
		g = &cachedGroup{reader: r, index: i}
		if at < c.most {
			c.groups = append(c.groups, nil)
		} else {
			at--
		}
	}
	copy(c.groups[1:at+1], c.groups[:at])
	c.groups[0] = g
	return g
}

func (c *groupCache) drop(g *cachedGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for j, have := range c.groups {
		if have == g {
			c.groups = append(c.groups[:j], c.groups[j+1:]...)
			return
		}
	}
}
