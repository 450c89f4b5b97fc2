package faces

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(t *testing.T) *Store {
	t.Helper()
	d, err := cache.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Store{Dir: d}
}

// create makes a layer of one file.
func create(t *testing.T, s *Store, o CreateOptions, content string) *layer.Layer {
	t.Helper()
	l, err := s.Create(t.Context(), o, func(w *layer.Writer) error {
		return w.Add(layer.Entry{Name: "f", Type: layer.Regular, Mode: 0o644, Size: int64(len(content))}, strings.NewReader(content))
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t *testing.T, l *layer.Layer) string {
	t.Helper()
	v := layer.NewView([]*layer.Layer{l})
	e, err := v.Lookup(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func record(t *testing.T, l *layer.Layer) cache.Layer {
	t.Helper()
	d, err := l.Descriptor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cache.Layer{DiffID: l.DiffID, Digest: d.Digest, Size: d.Size, MediaType: d.MediaType}
}

// origin serves blobs and counts how often it was asked.
type origin struct {
	blobs map[digest.Digest][]byte
	asked atomic.Int32
}

func (o *origin) Fetch(_ context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	o.asked.Add(1)
	data, ok := o.blobs[d.Digest]
	if !ok {
		return nil, errors.New("not there")
	}
	return io.NopCloser(bytes.NewReader(data[offset:])), nil
}

// foreign returns a layer that is only at its origin: one gzip member, as other
// builders write them.
func foreign(t *testing.T, content string) (cache.Layer, *origin) {
	t.Helper()
	s := newStore(t)
	s.Compression = layer.Uncompressed
	l := create(t, s, CreateOptions{}, content)
	b, err := l.Blob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(z.Bytes())
	return cache.Layer{DiffID: l.DiffID, Digest: d, Size: int64(z.Len()), MediaType: ocispec.MediaTypeImageLayerGzip},
		&origin{blobs: map[digest.Digest][]byte{d: z.Bytes()}}
}

func TestCreatedLayerIsThereForOthers(t *testing.T) {
	s := newStore(t)
	l := create(t, s, CreateOptions{}, "hello")
	if got := read(t, l); got != "hello" {
		t.Errorf("it holds %q", got)
	}
	rec := record(t, l)
	s.Wait()
	other := &Store{Dir: s.Dir}
	if got := read(t, other.Local(rec)); got != "hello" {
		t.Errorf("for another process it holds %q", got)
	}
	if left, _ := os.ReadDir(filepath.Join(s.Dir.Path(), "tmp")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFailedLayerLeavesNothing(t *testing.T) {
	s := newStore(t)
	oops := errors.New("oops")
	_, err := s.Create(t.Context(), CreateOptions{Spool: true}, func(*layer.Writer) error { return oops })
	if !errors.Is(err, oops) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(s.Dir.Path(), "tmp")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPublishedTOCIsThereAtOnce(t *testing.T) {
	s := newStore(t)
	l := create(t, s, CreateOptions{Publish: true}, strings.Repeat("x", 2*waitSize))
	if _, err := s.Dir.ReadTOC(l.DiffID); err != nil {
		t.Errorf("error %v", err)
	}
	s.Wait()
	toc, err := s.Dir.ReadTOC(l.DiffID)
	if err != nil {
		t.Fatal(err)
	}
	if dec, err := layer.DecodeTOC(toc); err != nil || len(dec.Groups) == 0 {
		t.Errorf("the complete table has no groups: %v", err)
	}
}

func TestRemoteLayerIsFetchedNoMoreThanNeeded(t *testing.T) {
	rec, o := foreign(t, "remote")
	s := newStore(t)
	l := s.Remote(rec, o)
	if _, err := l.Descriptor(t.Context()); err != nil || o.asked.Load() != 0 {
		t.Fatalf("a descriptor costs %d fetches, %v", o.asked.Load(), err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := l.TOC(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := o.asked.Load(); n != 1 {
		t.Errorf("the table of contents cost %d fetches", n)
	}
	if _, ok := s.Dir.HasBlob(rec.Digest); ok {
		t.Error("the blob was kept although nobody asked for it")
	}
	if _, err := (&Store{Dir: s.Dir}).Remote(rec, o).TOC(t.Context()); err != nil || o.asked.Load() != 1 {
		t.Errorf("a known table of contents is fetched again: %v", err)
	}
	if got := read(t, l); got != "remote" || o.asked.Load() != 2 {
		t.Errorf("content %q after %d fetches", got, o.asked.Load())
	}
}

func TestKeepStreamsFetchesOnce(t *testing.T) {
	rec, o := foreign(t, "remote")
	s := newStore(t)
	s.KeepStreams = true
	if got := read(t, s.Remote(rec, o)); got != "remote" || o.asked.Load() != 1 {
		t.Errorf("content %q after %d fetches", got, o.asked.Load())
	}
}

func TestLyingLayersAreRefused(t *testing.T) {
	for name, lie := range map[string]func(*cache.Layer, *origin){
		"other bytes": func(l *cache.Layer, o *origin) { o.blobs[l.Digest][20] ^= 1 },
		"more bytes":  func(l *cache.Layer, o *origin) { o.blobs[l.Digest] = append(o.blobs[l.Digest], 0) },
		"less bytes":  func(l *cache.Layer, o *origin) { o.blobs[l.Digest] = o.blobs[l.Digest][:30] },
		"diff ID":     func(l *cache.Layer, _ *origin) { l.DiffID = digest.FromString("another") },
		"media type":  func(l *cache.Layer, _ *origin) { l.MediaType = "text/plain" },
	} {
		t.Run(name, func(t *testing.T) {
			rec, o := foreign(t, "remote")
			lie(&rec, o)
			s := newStore(t)
			if _, err := s.Remote(rec, o).TOC(t.Context()); err == nil || !strings.Contains(err.Error(), rec.Digest.String()) {
				t.Errorf("error %v does not name the layer", err)
			}
			if _, err := s.Dir.ReadTOC(rec.DiffID); err == nil {
				t.Error("the table of contents of a lie is kept")
			}
		})
	}
}

func TestSameLayerUnderAnotherCompression(t *testing.T) {
	s := newStore(t)
	ours := create(t, s, CreateOptions{}, "same")
	s.Wait()
	rec, o := foreign(t, "same")
	if rec.DiffID != ours.DiffID {
		t.Fatal("not the same layer")
	}
	if got := read(t, s.Remote(rec, o)); got != "same" {
		t.Errorf("content %q", got)
	}
}

func TestPreviousLayerLendsItsGroups(t *testing.T) {
	s := newStore(t)
	big := strings.Repeat("some text to compress ", 1<<18) // groups of several blocks
	first := record(t, create(t, s, CreateOptions{}, big+"1"))
	s.Wait()
	again := record(t, create(t, s, CreateOptions{Previous: first}, big+"2"))
	s.Wait()
	fresh := record(t, create(t, newStore(t), CreateOptions{}, big+"2"))
	if again.Digest != fresh.Digest {
		t.Error("copied groups make other bytes than compressed ones")
	}
	if got := read(t, s.Local(again)); got != big+"2" {
		t.Error("content differs")
	}
}

func TestAwaitedLayer(t *testing.T) {
	s := newStore(t)
	made := create(t, s, CreateOptions{Publish: true}, "by another")
	rec := record(t, made)
	release := make(chan struct{})
	l := (&Store{Dir: s.Dir}).Awaited(rec.DiffID, func(ctx context.Context) (cache.Layer, error) {
		select {
		case <-release:
			return rec, nil
		case <-ctx.Done():
			return cache.Layer{}, ctx.Err()
		}
	})
	if _, err := l.TOC(t.Context()); err != nil {
		t.Errorf("the table of contents waits: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Descriptor(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(release)
	if got := read(t, l); got != "by another" {
		t.Errorf("content %q", got)
	}
}
