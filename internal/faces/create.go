package faces

import (
	"context"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// waitSize is the size of a tar in bytes that is compressed sooner than the
// table of contents is published twice.
const waitSize = 1 << 20

// CreateOptions says how Create makes a layer.
type CreateOptions struct {
	// Previous is an older layer, most likely similar, whose unchanged groups
	// are copied; zero if there is none.
	Previous cache.Layer
	// Spool lets the entries run ahead of the compressors, at the price of a
	// temporary file: for steps that others wait for.
	Spool bool
	// Publish writes the table of contents as soon as the tar is complete, for
	// another process that waits for it.
	Publish bool
}

// Create makes a layer of the entries that fill adds. It returns when the tar
// is complete; compression may go on, and the layer's Descriptor waits for it.
// ctx must outlive the compression.
func (s *Store) Create(ctx context.Context, o CreateOptions, fill func(*layer.Writer) error) (*layer.Layer, error) {
	m, err := s.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	diffID, err := m.write(o, fill)
	if err != nil {
		m.drop()
		return nil, err
	}
	s.pending.Add(1)
	go func() {
		defer s.pending.Done()
		m.finish(diffID)
	}()
	return layer.New(diffID, m), nil
}

// making makes the faces of a layer that is being written.
type making struct {
	store  *Store
	diffID digest.Digest // once the tar is complete
	w      *layer.Writer
	file   *os.File
	sum    hash.Hash32 // of what is written to it
	spool  *spool
	reused *os.File

	once sync.Once
	anew bool          // nothing had the blob before
	done chan struct{} // closed when blob, toc and err are set
	blob layer.Blob
	toc  *layer.TOC
	err  error
}

func (s *Store) begin(ctx context.Context, o CreateOptions) (*making, error) {
	m := &making{store: s, done: make(chan struct{}), sum: cache.NewChecksum()}
	var err error
	if m.file, err = s.Dir.TempFile("layer-*"); err != nil {
		return nil, err
	}
	wo := layer.WriterOptions{Compression: s.Compression, Reuse: m.reuse(o.Previous), MaxBytes: s.Limits.OrDefault().MaxBytes}
	if o.Spool {
		m.spool = &spool{dir: s.Dir}
		wo.Spool = m.spool
	}
	m.w = layer.NewWriter(ctx, io.MultiWriter(m.file, m.sum), wo)
	return m, nil
}

// reuse finds the older layer's groups; without them everything is compressed.
func (m *making) reuse(previous cache.Layer) *layer.Reuse {
	if previous.DiffID == "" {
		return nil
	}
	toc := (&stored{store: m.store, layer: previous}).readTOC()
	if toc == nil || len(toc.Groups) == 0 || toc.Blob != previous.Digest {
		return nil
	}
	var err error
	if m.reused, err = m.store.Dir.OpenBlob(previous.Digest); err != nil {
		return nil
	}
	return &layer.Reuse{TOC: toc, Blob: m.reused}
}

func (m *making) write(o CreateOptions, fill func(*layer.Writer) error) (digest.Digest, error) {
	if err := fill(m.w); err != nil {
		return "", err
	}
	diffID, err := m.w.Finish()
	if err != nil || !o.Publish {
		return diffID, err
	}
	if m.w.TOC().RawSize < waitSize {
		m.finish(diffID)
		return diffID, m.err
	}
	if _, err := m.store.Dir.ReadTOC(diffID); err == nil {
		return diffID, nil // it may have groups, which this one has not yet
	}
	return diffID, m.store.Dir.WriteTOC(diffID, m.w.TOC().EncodeTo)
}

// finish waits for the compression and puts everything in its place, once.
func (m *making) finish(diffID digest.Digest) { m.once.Do(func() { m.place(diffID) }) }

func (m *making) place(diffID digest.Digest) {
	defer close(m.done)
	defer m.closeFiles()
	desc, toc, err := m.w.Wait()
	if err == nil {
		_, before := m.store.Dir.HasBlob(desc.Digest)
		m.anew = !before
		err = m.store.Dir.AdoptBlob(m.file, desc.Digest, m.sum)
	}
	if err == nil {
		err = m.store.Dir.WriteTOC(diffID, toc.EncodeTo)
	}
	if err != nil {
		os.Remove(m.file.Name())
		m.err = err
		return
	}
	m.toc, m.diffID = toc, diffID
	m.blob = layer.Blob{Descriptor: desc, Path: m.store.Dir.BlobPath(desc.Digest)}
}

// drop ends a layer that will not be.
func (m *making) drop() {
	if m.w != nil {
		m.w.Abort()
	}
	os.Remove(m.file.Name())
	m.closeFiles()
}

func (m *making) closeFiles() {
	for _, f := range []*os.File{m.file, m.reused} {
		if f != nil {
			f.Close()
		}
	}
	if m.spool != nil {
		m.spool.close()
	}
}

func (m *making) wait(ctx context.Context) error {
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *making) Descriptor(ctx context.Context) (ocispec.Descriptor, error) {
	err := m.wait(ctx)
	return m.blob.Descriptor, err
}

func (m *making) TOC(context.Context) (*layer.TOC, error) { return m.w.TOC(), nil }

func (m *making) Blob(ctx context.Context) (layer.Blob, error) {
	err := m.wait(ctx)
	return m.blob, err
}

func (m *making) Raw(ctx context.Context) (io.ReaderAt, error) {
	if err := m.wait(ctx); err != nil {
		return nil, err
	}
	raw, err := rawOf(m.store.Dir, m.blob, m.toc, m.diffID)
	if err != nil {
		return nil, err
	}
	d := m.blob.Descriptor
	return &suspect{raw, &stored{store: m.store, layer: cache.Layer{DiffID: m.diffID, Digest: d.Digest, Size: d.Size, MediaType: d.MediaType}}}, nil
}

// Awaited returns a layer that another process is making in the same store:
// its table of contents is published already, wait returns when its blob is.
func (s *Store) Awaited(diffID digest.Digest, wait func(context.Context) (cache.Layer, error)) *layer.Layer {
	return layer.New(diffID, &awaited{store: s, diffID: diffID, wait: wait})
}

type awaited struct {
	store  *Store
	diffID digest.Digest
	wait   func(context.Context) (cache.Layer, error)
}

func (a *awaited) stored(ctx context.Context) (*stored, error) {
	l, err := a.wait(ctx)
	return &stored{store: a.store, layer: l}, err
}

func (a *awaited) Descriptor(ctx context.Context) (ocispec.Descriptor, error) {
	f, err := a.stored(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return f.Descriptor(ctx)
}

func (a *awaited) TOC(ctx context.Context) (*layer.TOC, error) {
	f := &stored{store: a.store, layer: cache.Layer{DiffID: a.diffID}}
	if toc := f.readTOC(); toc != nil {
		return toc, nil
	}
	f, err := a.stored(ctx)
	if err != nil {
		return nil, err
	}
	return f.TOC(ctx)
}

func (a *awaited) Blob(ctx context.Context) (layer.Blob, error) {
	f, err := a.stored(ctx)
	if err != nil {
		return layer.Blob{}, err
	}
	return f.Blob(ctx)
}

func (a *awaited) Raw(ctx context.Context) (io.ReaderAt, error) {
	f, err := a.stored(ctx)
	if err != nil {
		return nil, err
	}
	return f.Raw(ctx)
}
