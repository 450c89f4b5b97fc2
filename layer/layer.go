package layer

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is one layer of an image: a value known by the digest of its
// uncompressed tar. Its faces are made when asked for, each at most once. A
// Layer is safe for concurrent use.
type Layer struct {
	// DiffID is the digest of the uncompressed tar (image-spec, config.md#layer-diffid).
	DiffID digest.Digest

	faces Faces
	toc   memo[*TOC]
	desc  memo[ocispec.Descriptor]
	blob  memo[Blob]
	raw   memo[io.ReaderAt]
}

// Faces makes the faces of one layer. [Layer] calls each method until it has
// succeeded once, and never twice at a time.
//
//nolint:interfacebloat // one method for each face that a layer has
type Faces interface {
	// Descriptor describes the compressed blob, whose bytes need not be local.
	// It waits for a compression that is under way.
	Descriptor(ctx context.Context) (ocispec.Descriptor, error)
	// TOC makes or reads the table of contents.
	TOC(ctx context.Context) (*TOC, error)
	// Blob brings the compressed bytes to this machine.
	Blob(ctx context.Context) (Blob, error)
	// Raw gives random access to the uncompressed tar.
	Raw(ctx context.Context) (io.ReaderAt, error)
}

// Blob is a compressed layer that lies in a local file.
type Blob struct {
	Descriptor ocispec.Descriptor
	Path       string
}

// New returns the layer with that DiffID whose faces f makes.
func New(diffID digest.Digest, f Faces) *Layer {
	return &Layer{DiffID: diffID, faces: f}
}

// Descriptor describes the compressed blob without bringing its bytes here. It
// waits for a compression that is under way.
func (l *Layer) Descriptor(ctx context.Context) (ocispec.Descriptor, error) {
	return l.desc.get(ctx, l.faces.Descriptor)
}

// TOC returns the table of contents.
func (l *Layer) TOC(ctx context.Context) (*TOC, error) { return l.toc.get(ctx, l.faces.TOC) }

// HasTOC tells whether TOC returns at once.
func (l *Layer) HasTOC() bool { return l.toc.has() }

// Blob returns the compressed bytes as a local file; it may pull them, or wait
// for a compression that is under way.
func (l *Layer) Blob(ctx context.Context) (Blob, error) { return l.blob.get(ctx, l.faces.Blob) }

// Opener is what Faces may have besides: a way to read the compressed blob that
// checks each byte on its way, and fails where a byte is not the one that the
// digest names.
type Opener interface {
	Open(ctx context.Context) (io.ReadCloser, error)
}

// Open reads the compressed blob, which Blob would bring here first. Where its
// Faces are no [Opener], the bytes are for the caller to check.
func (l *Layer) Open(ctx context.Context) (io.ReadCloser, error) {
	if o, ok := l.faces.(Opener); ok {
		return o.Open(ctx)
	}
	b, err := l.Blob(ctx)
	if err != nil {
		return nil, err
	}
	return os.Open(b.Path)
}

// Raw gives random access to the uncompressed tar.
func (l *Layer) Raw(ctx context.Context) (io.ReaderAt, error) { return l.raw.get(ctx, l.faces.Raw) }

// Origin returns the "registry/repository" that the layer came from, or "".
func (l *Layer) Origin() string {
	if o, ok := l.faces.(interface{ Origin() string }); ok {
		return o.Origin()
	}
	return ""
}

// String names the layer, and where it came from, for errors.
func (l *Layer) String() string {
	if o := l.Origin(); o != "" {
		return fmt.Sprintf("%s of %s", l.DiffID, o)
	}
	return l.DiffID.String()
}

// Faces returns the maker of the layer's faces, so that who made it can
// recognise its own (an origin registry, say).
func (l *Layer) Faces() Faces { return l.faces }

// memo keeps the first success of a function. A failure is not kept: the next
// caller may have a context that still lives.
type memo[T any] struct {
	mu  sync.Mutex
	val atomic.Pointer[T] // nil until it is made
}

func (m *memo[T]) has() bool { return m.val.Load() != nil }

func (m *memo[T]) get(ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	if v := m.val.Load(); v != nil {
		return *v, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.val.Load(); v != nil {
		return *v, nil
	}
	v, err := f(ctx)
	if err != nil {
		var none T
		return none, err
	}
	m.val.Store(&v)
	return v, nil
}
