package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
)

// Groups of all writers of the process share the cores and the memory.
var (
	compressors = semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))
	groupMemory = semaphore.NewWeighted(maxGroupMemory)
	rawBuffers  bufferPool
	outBuffers  bufferPool
)

// maxGroupMemory bounds groups between hash and blob: more than one large one
// for each core that works on them. Each writer has two more, the one
// that is being filled and the one that is being hashed.
var maxGroupMemory = max(2, int64(runtime.GOMAXPROCS(0))) * 4 << 20

// minCost is what the smallest group counts for, which bounds their number.
const minCost = 256 << 10

// pipe is what a tar goes through behind a Writer, each stage a goroutine:
//
//	cuts ─▶ hash ─▶ backlog ─▶ dispatch ─▶ pack (several) ─▶ collect
//
// A group is admitted, that is given its share of the memory, in the order of
// the tar. So every group that holds memory waits only for others that hold
// theirs, and the oldest of them can always go on. Groups that are not admitted
// wait in the spool or, without one, hold up hash and thereby Add.
type pipe struct {
	compression Compression
	spool       SpoolFile
	reuse       *reuse
	dst         io.Writer

	cuts   chan *group
	queue  backlog
	order  chan *group
	hashed chan struct{} // closed when diffID is known
	gone   chan struct{} // closed when no goroutine is left
	done   <-chan struct{}
	fail   context.CancelCauseFunc
	cause  func() error

	live    atomic.Int32 // goroutines
	held    atomic.Int64 // of groupMemory
	spooled atomic.Int64 // groups in the spool that are not yet admitted

	diffID digest.Digest
	desc   ocispec.Descriptor
	groups []Group
	ok     bool // all was written
}

// group is a part of the tar on its way through the pipe.
type group struct {
	Group
	raw    []byte // nil in the spool
	out    []byte
	cost   int64 // what it holds of groupMemory
	packed chan struct{}
}

func startPipe(ctx context.Context, dst io.Writer, o WriterOptions) *pipe {
	ctx, fail := context.WithCancelCause(ctx)
	p := &pipe{
		compression: o.Compression, spool: o.Spool, reuse: newReuse(o), dst: dst,
		cuts: make(chan *group), order: make(chan *group, maxGroupMemory/minCost), queue: backlog{wake: make(chan struct{}, 1)},
		hashed: make(chan struct{}), gone: make(chan struct{}),
		done: ctx.Done(), fail: fail, cause: func() error { return context.Cause(ctx) },
	}
	rawBuffers.enter()
	outBuffers.enter()
	for _, stage := range []func(context.Context) error{p.hash, p.dispatch, p.collect} {
		p.live.Add(1)
		defer p.start(func() error { return stage(ctx) })
	}
	return p
}

// start runs one goroutine, already counted in live. The last to leave gives
// back what groups still hold, so that a writer that nobody ends properly costs
// the process nothing.
func (p *pipe) start(f func() error) {
	go func() {
		if err := f(); err != nil {
			p.fail(err)
		}
		if p.live.Add(-1) == 0 {
			groupMemory.Release(p.held.Swap(0))
			rawBuffers.leave()
			outBuffers.leave()
			p.fail(nil)
			close(p.gone)
		}
	}()
}

// put hands a full group over.
func (p *pipe) put(g *group) error {
	select {
	case p.cuts <- g:
		return nil
	case <-p.done:
		return p.cause()
	}
}

// hash computes the DiffID and sees to it that groups beyond the memory go to
// the spool.
func (p *pipe) hash(ctx context.Context) error {
	sum := sha256.New()
	var spoolSize int64
	for {
		var g *group
		select {
		case g = <-p.cuts:
		case <-ctx.Done():
			return nil
		}
		if g == nil {
			break
		}
		sum.Write(g.raw)
		switch free := p.spooled.Load() == 0 && p.tryAdmit(g); {
		case free:
		case p.spool == nil:
			if err := p.admit(ctx, g); err != nil {
				return err
			}
		default:
			// Groups lie in the spool as they lie in the tar.
			if _, err := p.spool.WriteAt(g.raw, spoolSize); err != nil {
				return fmt.Errorf("spool: %w", err)
			}
			g.Offset = spoolSize
			spoolSize += g.RawSize
			rawBuffers.put(&g.raw)
			p.spooled.Add(1)
		}
		p.queue.push(g)
	}
	p.queue.push(nil)
	p.diffID = makeDigest(sum.Sum(nil))
	close(p.hashed)
	return nil
}

// groupCost is what a group takes while raw and compressed bytes exist.
func groupCost(g *group) int64 {
	room := int64(cap(g.raw))
	if g.raw == nil {
		room = groupRoom // it comes back from the spool into such a buffer
	}
	return min(max(room+g.RawSize/2, minCost), maxGroupMemory)
}

func (p *pipe) tryAdmit(g *group) bool {
	cost := groupCost(g)
	if !groupMemory.TryAcquire(cost) {
		return false
	}
	p.hold(g, cost)
	return true
}

func (p *pipe) admit(ctx context.Context, g *group) error {
	cost := groupCost(g)
	if err := groupMemory.Acquire(ctx, cost); err != nil {
		return err
	}
	p.hold(g, cost)
	return nil
}

func (p *pipe) hold(g *group, cost int64) {
	g.cost = cost
	p.held.Add(cost)
}

// release gives back what g holds. It holds all until it is in the blob, so that
// there are no more buffers of either kind than groups that fit.
func (p *pipe) release(g *group) {
	p.held.Add(-g.cost)
	groupMemory.Release(g.cost)
}

// dispatch starts the compression of groups in the order of the tar.
func (p *pipe) dispatch(ctx context.Context) error {
	for {
		g, err := p.queue.pop(ctx)
		if err != nil {
			return err
		}
		if g == nil {
			close(p.order) // not after an error: the blob would look complete
			return nil
		}
		if g.raw == nil {
			if err := p.unspool(ctx, g); err != nil {
				return err
			}
		}
		if err := compressors.Acquire(ctx, 1); err != nil {
			return err
		}
		p.order <- g // never blocks: the memory bounds the number of groups
		p.live.Add(1)
		p.start(func() error {
			defer compressors.Release(1)
			return p.pack(g)
		})
	}
}

func (p *pipe) unspool(ctx context.Context, g *group) error {
	if err := p.admit(ctx, g); err != nil {
		return err
	}
	p.spooled.Add(-1)
	g.raw = rawBuffers.get(int(g.RawSize))[:g.RawSize]
	if _, err := p.spool.ReadAt(g.raw, g.Offset); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// pack makes the bytes of the blob out of those of the tar.
func (p *pipe) pack(g *group) error {
	buf := outBuffers.get(len(g.raw) / 2)
	out, ok := p.reuse.find(g, buf)
	if !ok {
		var err error
		if out, err = p.compression.Append(buf, g.raw); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
	}
	g.out, g.Size, g.Checksum = out, int64(len(out)), crc32.Checksum(out, castagnoli)
	rawBuffers.put(&g.raw)
	close(g.packed) // not after an error, either
	return nil
}

// collect writes the compressed groups in the order of the tar.
func (p *pipe) collect(ctx context.Context) error {
	sum := sha256.New()
	var size int64
	for {
		g := p.nextPacked(ctx)
		if g == nil {
			break
		}
		if _, err := p.dst.Write(g.out); err != nil {
			return fmt.Errorf("write blob: %w", err)
		}
		sum.Write(g.out)
		g.Offset = size
		size += g.Size
		p.groups = append(p.groups, g.Group)
		outBuffers.put(&g.out)
		p.release(g)
	}
	if ctx.Err() != nil {
		return nil
	}
	p.desc = descriptor(p.compression.MediaType(), sum, size)
	p.ok = true
	return nil
}

// nextPacked waits for the next group to be compressed; nil is the end.
func (p *pipe) nextPacked(ctx context.Context) *group {
	var g *group
	select {
	case g = <-p.order:
	case <-ctx.Done():
	}
	if g == nil {
		return nil
	}
	select {
	case <-g.packed:
		return g
	case <-ctx.Done():
		return nil
	}
}

func descriptor(mediaType string, sum hash.Hash, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: makeDigest(sum.Sum(nil)), Size: size}
}

// wait returns when no goroutine is left.
func (p *pipe) wait() error {
	<-p.gone
	if !p.ok {
		return p.cause()
	}
	return nil
}
