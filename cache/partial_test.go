package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// cutAt serves data from an offset on, up to a limit; it notes the offsets.
type cutAt struct {
	data    []byte
	limit   int
	offsets []int64
}

var errCut = errors.New("cut")

func (c *cutAt) fetch(offset int64) (io.ReadCloser, error) {
	c.offsets = append(c.offsets, offset)
	end := min(c.limit, len(c.data))
	var last io.Reader = bytes.NewReader(nil)
	if end < len(c.data) {
		last = failing{}
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(c.data[offset:end]), last)), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errCut }

func bigBlob() ([]byte, digest.Digest) {
	data := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return data, digest.FromBytes(data)
}

func TestE7AnInterruptedPullResumes(t *testing.T) {
	data, want := bigBlob()
	path := t.TempDir()
	s := &cutAt{data: data, limit: 2 << 20}
	if err := openAt(t, path).FetchBlob(t.Context(), want, int64(len(data)), s.fetch); !errors.Is(err, errCut) {
		t.Fatalf("error %v", err)
	}
	d := openAt(t, path) // another process, later
	if _, there := d.HasBlob(want); there {
		t.Fatal("a part passes for the blob")
	}
	s.limit = len(data)
	if err := d.FetchBlob(t.Context(), want, int64(len(data)), s.fetch); err != nil {
		t.Fatal(err)
	}
	if len(s.offsets) != 2 || s.offsets[1] != 2<<20 {
		t.Errorf("asked for bytes from %v, want from 0 and from 2 MiB", s.offsets)
	}
	if got, err := os.ReadFile(d.BlobPath(want)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	nothingKept(t, d)
}

func TestE7ADamagedPartIsFetchedAgain(t *testing.T) {
	data, want := bigBlob()
	for name, part := range map[string][]byte{
		"damaged": make([]byte, 1<<20), "longer": make([]byte, 4<<20), "complete": data, "complete, damaged": make([]byte, 3<<20),
	} {
		t.Run(name, func(t *testing.T) {
			d := openAt(t, t.TempDir())
			if err := os.MkdirAll(d.sub(partialFolder), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(d.sub(partialFolder, want.Encoded()), part, 0o600); err != nil {
				t.Fatal(err)
			}
			s := &cutAt{data: data, limit: len(data)}
			if err := d.FetchBlob(t.Context(), want, int64(len(data)), s.fetch); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(d.BlobPath(want)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			nothingKept(t, d)
		})
	}
}

func TestE7WrongBytesAreNotKept(t *testing.T) {
	data, want := bigBlob()
	d := openAt(t, t.TempDir())
	data[5]++
	s := &cutAt{data: data, limit: len(data)}
	if err := d.FetchBlob(t.Context(), want, int64(len(data)), s.fetch); err == nil {
		t.Error("no error")
	}
	nothingKept(t, d)
}

func TestE7OldPartsAreRemoved(t *testing.T) {
	data, want := bigBlob()
	d := openAt(t, t.TempDir())
	_ = d.FetchBlob(t.Context(), want, int64(len(data)), (&cutAt{data: data, limit: 2 << 20}).fetch)
	old := time.Now().Add(-2 * partialAge)
	if err := os.Chtimes(d.sub(partialFolder, want.Encoded()), old, old); err != nil {
		t.Fatal(err)
	}
	d.sweepPartial()
	nothingKept(t, d)
}

func TestE7ACanceledFetchEnds(t *testing.T) {
	data, want := bigBlob()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := openAt(t, t.TempDir()).FetchBlob(ctx, want, int64(len(data)), (&cutAt{data: data, limit: len(data)}).fetch)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func openAt(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func nothingKept(t *testing.T, d *Dir) {
	t.Helper()
	if left, err := os.ReadDir(d.sub(partialFolder)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
