// Package faces makes the faces of layers and keeps them in the local store:
// a blob is fetched, a table of contents is scanned and a layer is compressed
// at most once, whoever asks, in this process or another. Everything that is
// kept was checked against its digest first.
package faces

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// Fetcher reads blobs from where an image came from.
type Fetcher interface {
	// Fetch returns the blob's bytes from offset on.
	Fetch(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
}

// Store gives out the layers of a local store. The zero value with Dir set is
// ready; it is safe for concurrent use.
type Store struct {
	Dir *cache.Dir
	// Compression of the layers that Create makes; nil means layer.Gzip.
	Compression layer.Compression
	// KeepStreams keeps a blob that was streamed only for its table of
	// contents, because its bytes will be needed anyway.
	KeepStreams bool
	// Limits bounds the layers that are read.
	Limits layer.Limits

	mu      sync.Mutex
	layers  map[layerID]*layer.Layer
	pending sync.WaitGroup
}

type layerID struct{ diffID, blob digest.Digest }

// Local returns a layer whose blob is in the store.
func (s *Store) Local(l cache.Layer) *layer.Layer { return s.Remote(l, nil) }

// Remote returns a layer whose blob is fetched when a face needs it and the
// store has it not. Equal layers are given out as one.
func (s *Store) Remote(l cache.Layer, f Fetcher) *layer.Layer {
	id := layerID{l.DiffID, l.Digest}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.layers[id]; have != nil {
		if st, ok := have.Faces().(*stored); !ok || st.fetcher != nil || f == nil {
			return have
		}
	}
	made := layer.New(l.DiffID, &stored{store: s, layer: l, fetcher: f})
	s.remember(id, made)
	return made
}

func (s *Store) remember(id layerID, l *layer.Layer) {
	if s.layers == nil {
		s.layers = map[layerID]*layer.Layer{}
	}
	s.layers[id] = l
}

// Has tells whether the blob of a layer is here, or can be fetched.
func (s *Store) Has(l cache.Layer) bool {
	if s.Dir.Holds(l.Digest, l.Size) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.layers[layerID{l.DiffID, l.Digest}]
	if have == nil {
		return false
	}
	f, ok := have.Faces().(*stored)
	return ok && f.fetcher != nil
}

// Wait returns when no compression is under way any more.
func (s *Store) Wait() { s.pending.Wait() }

// stored makes the faces of a layer that is in the store, or will be.
type stored struct {
	store   *Store
	layer   cache.Layer
	fetcher Fetcher
}

// Origin returns the "registry/repository" the blob can be had from, or "".
func (f *stored) Origin() string { return f.layer.Origin }

// failed says which layer, and of which image, an error is about.
func (f *stored) failed(err error) error {
	if f.layer.Origin == "" {
		return fmt.Errorf("layer %s: %w", f.layer.Digest, err)
	}
	return fmt.Errorf("layer %s of %s: %w", f.layer.Digest, f.layer.Origin, err)
}

func (f *stored) Descriptor(context.Context) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{
		MediaType: f.layer.MediaType, Digest: f.layer.Digest,
		Size: f.layer.Size, Annotations: f.layer.Annotations,
	}, nil
}

func (f *stored) TOC(ctx context.Context) (*layer.TOC, error) {
	if toc := f.readTOC(); toc != nil {
		return toc, nil
	}
	unlock, err := f.store.Dir.Lock(ctx, "toc "+f.layer.DiffID.String())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if toc := f.readTOC(); toc != nil { // another process was faster
		return toc, nil
	}
	if f.store.KeepStreams && f.fetcher != nil {
		if _, err := f.Blob(ctx); err != nil {
			return nil, err
		}
	}
	toc, err := f.scan(ctx)
	if err != nil {
		return nil, f.failed(f.diagnose(err))
	}
	return toc, f.store.Dir.WriteTOC(f.layer.DiffID, toc.EncodeTo)
}

// readTOC returns nil where there is none, or a damaged one to be made anew.
func (f *stored) readTOC() *layer.TOC {
	data, err := f.store.Dir.ReadTOC(f.layer.DiffID)
	if err != nil {
		return nil
	}
	toc, err := layer.DecodeTOC(data)
	if err != nil {
		if !errors.Is(err, layer.ErrTOCVersion) {
			f.store.Dir.DamagedTOC(f.layer.DiffID, err)
		}
		return nil
	}
	return toc
}

// scan reads the blob, from the store or from its origin; again, where a mirror
// had it wrong.
func (f *stored) scan(ctx context.Context) (*layer.TOC, error) {
	for {
		blob, err := f.open(ctx)
		if err != nil {
			return nil, err
		}
		toc, err := f.scanBlob(ctx, blob)
		blob.Close()
		if r, ok := blob.(cache.Rejecter); err == nil || !ok || !r.Reject(err) {
			return toc, err
		}
	}
}

// scanBlob reads the blob once and checks both of its digests.
func (f *stored) scanBlob(ctx context.Context, blob io.Reader) (*layer.TOC, error) {
	hash := f.layer.Digest.Algorithm().Hash()
	compressed := io.TeeReader(io.LimitReader(blob, f.layer.Size+1), hash)
	raw, err := layer.NewReader(compressed, f.layer.MediaType)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	toc, diffID, err := layer.Scan(ctx, raw, layer.ScanOptions{Limits: f.store.Limits})
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, compressed); err != nil { // what may follow the last member
		return nil, err
	}
	if got := digest.NewDigest(f.layer.Digest.Algorithm(), hash); got != f.layer.Digest {
		return nil, &cache.DigestError{Got: got, Want: f.layer.Digest}
	}
	if diffID != f.layer.DiffID {
		return nil, wrongTar(diffID, f.layer.DiffID)
	}
	return toc, nil
}

func (f *stored) open(ctx context.Context) (io.ReadCloser, error) {
	if f.store.Dir.Holds(f.layer.Digest, f.layer.Size) {
		return f.store.Dir.OpenBlob(f.layer.Digest)
	}
	if f.fetcher == nil {
		return nil, fmt.Errorf("%w, and its origin is not known; pull the image again", f.store.Dir.Missing(f.layer.Digest))
	}
	desc, _ := f.Descriptor(ctx)
	return f.fetcher.Fetch(ctx, desc, 0)
}

func (f *stored) Blob(ctx context.Context) (layer.Blob, error) {
	desc, _ := f.Descriptor(ctx)
	blob := layer.Blob{Descriptor: desc, Path: f.store.Dir.BlobPath(desc.Digest)}
	if f.store.Dir.Holds(desc.Digest, desc.Size) {
		return blob, nil
	}
	unlock, err := f.store.Dir.Lock(ctx, "blob "+desc.Digest.String())
	if err != nil {
		return layer.Blob{}, err
	}
	defer unlock()
	if f.store.Dir.Holds(desc.Digest, desc.Size) {
		return blob, nil
	}
	err = f.store.Dir.FetchBlob(ctx, desc.Digest, desc.Size, func(offset int64) (io.ReadCloser, error) {
		if f.fetcher == nil {
			return f.open(ctx) // which says why not
		}
		return f.fetcher.Fetch(ctx, desc, offset)
	})
	if err != nil {
		return layer.Blob{}, f.failed(err)
	}
	return blob, nil
}

func (f *stored) Raw(ctx context.Context) (io.ReaderAt, error) {
	blob, err := f.Blob(ctx)
	if err != nil {
		return nil, err
	}
	toc, err := f.TOC(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := rawOf(f.store.Dir, blob, toc, f.layer.DiffID)
	if err != nil {
		return nil, f.failed(f.diagnose(err))
	}
	return &suspect{raw, f}, nil
}

// rawOf gives random access to a blob's tar: by its groups where it has them,
// otherwise by decompressing it once into a nameless file.
func rawOf(dir *cache.Dir, blob layer.Blob, toc *layer.TOC, diffID digest.Digest) (io.ReaderAt, error) {
	f, err := dir.OpenBlob(blob.Descriptor.Digest)
	if err != nil {
		return nil, err
	}
	if len(toc.Groups) > 0 && toc.Blob == blob.Descriptor.Digest {
		return layer.NewGroupReader(f, toc)
	}
	defer f.Close()
	r, err := layer.NewReader(f, blob.Descriptor.MediaType)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := dir.TempFile("raw-*")
	if err != nil {
		return nil, err
	}
	os.Remove(raw.Name())
	if err := unpackRaw(raw, r, toc.RawSize, diffID); err != nil {
		raw.Close()
		return nil, err
	}
	return raw, nil
}

// unpackRaw writes a tar that must have that size and digest. The table of
// contents may be that of another blob, which claimed the same: were this one
// another tar, its bytes would be taken for that one's files.
func unpackRaw(to io.Writer, r io.Reader, size int64, diffID digest.Digest) error {
	h := diffID.Algorithm().Hash()
	if _, err := io.Copy(io.MultiWriter(to, h), io.LimitReader(r, size+1)); err != nil {
		return err
	}
	if got := digest.NewDigest(diffID.Algorithm(), h); got != diffID {
		return wrongTar(got, diffID)
	}
	return nil
}

func wrongTar(got, want digest.Digest) error {
	return fmt.Errorf("its tar has the digest %s, the image's config says %s", got, want)
}
