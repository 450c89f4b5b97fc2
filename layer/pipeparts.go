package layer

import (
	"context"
	"hash/crc32"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

// backlog is a queue without a bound; groups in the spool are small.
type backlog struct {
	mu    sync.Mutex
	items []*group
	wake  chan struct{}
}

// push appends g; nil marks the end.
func (b *backlog) push(g *group) {
	b.mu.Lock()
	b.items = append(b.items, g)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *backlog) pop(ctx context.Context) (*group, error) {
	for {
		b.mu.Lock()
		if len(b.items) > 0 {
			g := b.items[0]
			b.items = b.items[1:]
			b.mu.Unlock()
			return g, nil
		}
		b.mu.Unlock()
		select {
		case <-b.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reuse finds groups of an older layer by their raw bytes.
type reuse struct {
	blob   io.ReaderAt
	groups map[digest.Digest]Group
}

// newReuse returns nil if there is nothing to reuse: groups of another
// compression would make bytes that depend on history.
func newReuse(o WriterOptions) *reuse {
	if o.Reuse == nil || o.Reuse.TOC == nil || o.Reuse.Blob == nil || o.Reuse.TOC.Compression != o.Compression.Name() {
		return nil
	}
	r := &reuse{blob: o.Reuse.Blob, groups: make(map[digest.Digest]Group, len(o.Reuse.TOC.Groups))}
	for _, g := range o.Reuse.TOC.Groups {
		if g.Size > 0 && g.Size <= 2*maxGroupRaw {
			r.groups[g.Digest] = g
		}
	}
	return r
}

// find appends the compressed bytes of g to dst. A blob that cannot be read, or
// is damaged, is no failure: the group is compressed again.
func (r *reuse) find(g *group, dst []byte) ([]byte, bool) {
	if r == nil {
		return nil, false
	}
	old, ok := r.groups[g.Digest]
	if !ok || old.RawSize != g.RawSize {
		return nil, false
	}
	dst = grow(dst, int(old.Size))[:old.Size]
	if n, _ := r.blob.ReadAt(dst, old.Offset); n < len(dst) {
		return nil, false
	}
	return dst, crc32.Checksum(dst, castagnoli) == old.Checksum
}

// bufferPool keeps buffers between groups. It is no plain sync.Pool: that one
// hands its buffers to the garbage collector while we need them, so that twice
// as many are in memory. Only when no writer is left may the collector have them.
type bufferPool struct {
	mu    sync.Mutex
	users int
	free  [][]byte
	idle  sync.Pool // of *[]byte
}

func (p *bufferPool) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
}

func (p *bufferPool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users > 0 {
		return
	}
	for _, b := range p.free {
		p.idle.Put(&b)
	}
	p.free = nil
}

// get returns an empty buffer for n bytes.
func (p *bufferPool) get(n int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.free) - 1; last >= 0 {
		b := p.free[last]
		p.free = p.free[:last]
		return grow(b, n)
	}
	if b, _ := p.idle.Get().(*[]byte); b != nil {
		return grow(*b, n)
	}
	return grow(nil, n)
}

// put takes a buffer back and forgets it in place.
func (p *bufferPool) put(b *[]byte) {
	buf := (*b)[:0]
	*b = nil
	if cap(buf) == 0 || cap(buf) > 2*maxGroup {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users > 0 {
		p.free = append(p.free, buf)
	}
}

// groupRoom is what a group usually takes at most: a block and its headers.
const groupRoom = maxGroup + 64<<10

// appender is a buffer that grows like those of groups.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(grow(*a, len(p)), p...)
	return len(p), nil
}

// grow makes room for n more bytes. Small layers stay small; whatever outgrows
// the first steps gets the room of a whole group at once, and keeps it in the pool.
func grow(b []byte, n int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	size := 64 << 10
	for size < need {
		size *= 4
	}
	if size > minGroup && need <= groupRoom {
		size = groupRoom
	}
	return append(make([]byte, 0, size), b...)
}
