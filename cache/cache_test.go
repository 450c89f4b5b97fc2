package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func open(t testing.TB) *Dir {
	t.Helper()
	d, err := OpenDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func sum(kind string, parts ...string) Key {
	h := NewHasher(kind)
	for i := 0; i+1 < len(parts); i += 2 {
		h.Add(parts[i], parts[i+1])
	}
	k, _ := h.Sum()
	return k
}

func TestHasherFramesItsParts(t *testing.T) {
	same := sum("run", "a", "b", "c", "d")
	for name, other := range map[string]Key{
		"kind":              sum("file", "a", "b", "c", "d"),
		"value runs over":   sum("run", "a", "bc", "", "d"),
		"name runs over":    sum("run", "ab", "", "c", "d"),
		"order":             sum("run", "c", "d", "a", "b"),
		"a part is missing": sum("run", "a", "b"),
	} {
		if other == same {
			t.Errorf("%s: keys are equal", name)
		}
	}
	if sum("run", "a", "b", "c", "d") != same {
		t.Error("the same parts make another key")
	}
}

func TestParseKeyReadsString(t *testing.T) {
	k := sum("x")
	if got, err := ParseKey(k.String()); err != nil || got != k {
		t.Fatalf("ParseKey = %v, %v", got, err)
	}
	for _, bad := range []string{"", "zz", k.String()[2:], k.String() + "00"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("ParseKey(%q) succeeds", bad)
		}
	}
}

func TestRecords(t *testing.T) {
	d, ctx, k := open(t), context.Background(), sum("x")
	if _, err := d.Get(ctx, k); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get of nothing: %v", err)
	}
	want := &Record{
		Outputs: [][]Layer{{{DiffID: "sha256:a", Size: 3, Created: time.Unix(7, 0).UTC()}}},
		Parts:   []Part{{"operation", "RUN"}},
	}
	if err := d.Put(ctx, k, want); err != nil {
		t.Fatal(err)
	}
	got, err := d.Get(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(d.keyPath(k), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(ctx, k); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged record: %v, want a miss with its reason", err)
	}
}

// Builds whose steps look alike share a key, the hint, and each has keys of its
// own beside it: what one puts must never stand under a key of another.
func TestRecordsOfOneKeyAtOnceKeepTheirOwn(t *testing.T) {
	d, ctx, shared := open(t), context.Background(), sum("shared")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 200 {
				mine := fmt.Sprintf("%d-%d", i, n)
				r := &Record{Parts: []Part{{"who", mine}}}
				if err := d.Put(ctx, shared, r, sum(mine)); err != nil {
					t.Error(err)
					return
				}
				if got, err := d.Get(ctx, sum(mine)); err != nil || got.Parts[0].Value != mine {
					t.Errorf("under the key of %s: %+v, %v", mine, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestBlobsAreVerified(t *testing.T) {
	d, ctx := open(t), context.Background()
	good := digest.FromString("hello")
	for name, err := range map[string]error{
		"other bytes":    d.PutBlob(ctx, strings.NewReader("hellO"), good, 5),
		"too short":      d.PutBlob(ctx, strings.NewReader("hell"), good, 5),
		"too long":       d.PutBlob(ctx, strings.NewReader("hello!"), good, 5),
		"path as digest": d.PutBlob(ctx, strings.NewReader(""), "sha256:../../x", -1),
	} {
		if err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	if _, ok := d.HasBlob(good); ok {
		t.Fatal("a refused blob is there")
	}
	if err := d.PutBlob(ctx, strings.NewReader("hello"), good, 5); err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenBlob(good)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if data, _ := io.ReadAll(f); string(data) != "hello" {
		t.Errorf("blob holds %q", data)
	}
	if left, _ := os.ReadDir(d.sub("tmp")); len(left) != 0 {
		t.Errorf("%d temporary files are left", len(left))
	}
}

func TestPutBlobEndsWithItsContext(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.PutBlob(ctx, strings.NewReader("x"), digest.FromString("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestReadBlobTellsDamage(t *testing.T) {
	d := open(t)
	dg := digest.FromString("config")
	if err := d.PutBytes(dg, []byte("config")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadBlob(dg, 3); err == nil {
		t.Error("more than the limit is read")
	}
	if err := os.WriteFile(d.BlobPath(dg), []byte("c0nfig"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadBlob(dg, 100); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("err = %v", err)
	}
}

func TestTags(t *testing.T) {
	d := open(t)
	a := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("a"), Size: 1}
	b := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("b"), Size: 1}
	for _, err := range []error{d.Tag("docker.io/library/y:1", a), d.Tag("docker.io/library/x:1", a), d.Tag("docker.io/library/y:1", b)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := d.Resolve("docker.io/library/y:1"); err != nil || got.Digest != b.Digest {
		t.Errorf("Resolve = %v, %v: the later tag must win", got.Digest, err)
	}
	tags, err := d.Tags()
	if err != nil || len(tags) != 2 || tags[0].Name != "docker.io/library/x:1" {
		t.Errorf("Tags = %v, %v", tags, err)
	}
	if err := d.Untag("docker.io/library/x:1"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{d.Untag("docker.io/library/x:1"), second(d.Resolve("docker.io/library/x:1"))} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("err = %v, want fs.ErrNotExist", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestTagsOfManyAtOnceAreAllKept(t *testing.T) {
	d := open(t)
	var wg sync.WaitGroup
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, n := range names {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := d.Tag(n, ocispec.Descriptor{Digest: digest.FromString(n)}); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if tags, _ := d.Tags(); len(tags) != len(names) {
		t.Errorf("%d of %d tags are kept", len(tags), len(names))
	}
}

func TestLockExcludesAndWaitsOnlyAsLongAsItsContext(t *testing.T) {
	d := open(t)
	unlock, err := d.Lock(context.Background(), "step")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := d.TryLock("step"); ok || err != nil {
		t.Fatalf("TryLock of a held lock = %v, %v", ok, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Lock(ctx, "step"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock = %v", err)
	}
	unlock()
	again, ok, err := d.TryLock("step")
	if !ok || err != nil {
		t.Fatalf("TryLock of a free lock = %v, %v", ok, err)
	}
	again()
}

func TestStoreIsPrivate(t *testing.T) {
	d := open(t)
	fi, err := os.Stat(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o700 {
		t.Errorf("mode %o, want 700", fi.Mode().Perm())
	}
}
