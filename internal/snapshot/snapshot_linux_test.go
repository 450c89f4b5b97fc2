package snapshot

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

func newManager(t *testing.T, dir *cache.Dir) *Manager {
	t.Helper()
	m, err := NewManager(dir, Trusted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func newStore(t *testing.T) *cache.Dir {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting overlays needs root")
	}
	dir, err := cache.OpenDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tarLayer writes an uncompressed layer of the given files.
func tarLayer(t *testing.T, headers ...tar.Header) Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname, h.Size = h.Linkname, "", int64(len(h.Linkname))
		}
		h.Mode = 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	w.Close()
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return Layer{DiffID: digest.FromBytes(buf.Bytes()), Blob: path, MediaType: ocispec.MediaTypeImageLayer}
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content}
}

func TestSnapshotRoundTrip(t *testing.T) {
	ctx, dir := context.Background(), newStore(t)
	m := newManager(t, dir)
	layers := []Layer{tarLayer(t, file("a", "1"), file("b", "1")), tarLayer(t, file("b", "2"), file(".wh.a", ""))}
	trees, err := m.Ensure(ctx, layers)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Prepare(ctx, trees, Bare)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Lstat(filepath.Join(s.Root(), "a")); err == nil {
		t.Error("a is visible")
	}
	if got, _ := os.ReadFile(filepath.Join(s.Root(), "b")); string(got) != "2" {
		t.Errorf("b is %q", got)
	}
	if err := os.WriteFile(filepath.Join(s.Root(), "c"), []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	diffID := diff(t, s)
	tree, err := s.Adopt(diffID)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(tree, "c")); string(got) != "3" {
		t.Errorf("adopted tree: c is %q", got)
	}
	again, err := m.Ensure(ctx, append(layers, Layer{DiffID: diffID, Blob: "/nowhere"}))
	if err != nil || again[2] != tree {
		t.Errorf("an adopted tree is not found: %v, %v", again, err)
	}
}

// diff writes the changes of s as a layer and returns its DiffID.
func diff(t *testing.T, s *Snapshot) digest.Digest {
	t.Helper()
	w := layer.NewWriter(context.Background(), io.Discard, layer.WriterOptions{})
	if err := s.Diff(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	diffID, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	return diffID
}

func TestSnapshotOfNothing(t *testing.T) {
	ctx, dir := context.Background(), newStore(t)
	s, err := newManager(t, dir).Prepare(ctx, nil, Bare)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Mkdir(filepath.Join(s.Root(), "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	diff(t, s)
	if _, err := os.Lstat(filepath.Join(s.Upper(), "d")); err != nil {
		t.Error(err)
	}
}

func TestEnsureChecksDiffID(t *testing.T) {
	m := newManager(t, newStore(t))
	l := tarLayer(t, file("a", "1"))
	is := l.DiffID
	l.DiffID = digest.FromString("other")
	_, err := m.Ensure(context.Background(), []Layer{l})
	if err == nil || !strings.Contains(err.Error(), is.String()) || !strings.Contains(err.Error(), l.DiffID.String()) {
		t.Fatalf("error %v does not name both digests", err)
	}
	if left, _ := os.ReadDir(m.trees); len(left) != 0 {
		t.Errorf("a wrong tree stays: %v", left)
	}
}

func TestEnsureOnceForAll(t *testing.T) {
	dir := newStore(t)
	l := tarLayer(t, file("a", "1"))
	var wg sync.WaitGroup
	for range 8 {
		m := newManager(t, dir)
		wg.Go(func() {
			if _, err := m.Ensure(context.Background(), []Layer{l, l}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestEnsureDependentLayers(t *testing.T) {
	ctx := context.Background()
	m := newManager(t, newStore(t))
	link := tarLayer(t, tar.Header{Typeflag: tar.TypeLink, Name: "link", Linkname: "a"})
	one, two := tarLayer(t, file("a", "1")), tarLayer(t, file("a", "2"))
	x, err := m.Ensure(ctx, []Layer{one, link})
	if err != nil {
		t.Fatal(err)
	}
	y, err := m.Ensure(ctx, []Layer{two, link})
	if err != nil {
		t.Fatal(err)
	}
	for tree, want := range map[string]string{x[1]: "1", y[1]: "2"} {
		if got, err := os.ReadFile(filepath.Join(tree, "link")); string(got) != want {
			t.Errorf("%s: %q, %v, want %q", tree, got, err, want)
		}
	}
}

func TestEnsureLayerOnItself(t *testing.T) {
	m := newManager(t, newStore(t))
	l := tarLayer(t, file("implied/a", "1"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := m.Ensure(ctx, []Layer{l, l, l, l}); err != nil {
		t.Fatal(err)
	}
}

func TestManyLayers(t *testing.T) {
	ctx := context.Background()
	m := newManager(t, newStore(t))
	l := tarLayer(t, file("a", "1"))
	trees, err := m.Ensure(ctx, make([]Layer, MaxLayers+1))
	if err == nil || !strings.Contains(err.Error(), "899 layers") {
		t.Errorf("%v, %v", trees, err)
	}
	var layers []Layer
	for range 300 {
		layers = append(layers, l)
	}
	if trees, err = m.Ensure(ctx, layers[:1]); err != nil {
		t.Fatal(err)
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = filepath.Join(t.TempDir(), "lower")
		os.Mkdir(many[i], 0o755)
	}
	s, err := m.Prepare(ctx, append(trees, many...), Bare)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Lstat(filepath.Join(s.Root(), "a")); err != nil {
		t.Error(err)
	}
}

func TestOldMountCall(t *testing.T) {
	m := newManager(t, newStore(t))
	trees, err := m.Ensure(context.Background(), []Layer{tarLayer(t, file("a", "1"))})
	if err != nil {
		t.Fatal(err)
	}
	for way := range 3 {
		base := t.TempDir()
		for _, d := range []string{"upper", "work", "root"} {
			os.Mkdir(filepath.Join(base, d), 0o755)
		}
		o := overlay{lowers: trees, upper: filepath.Join(base, "upper"), work: filepath.Join(base, "work")}
		root := filepath.Join(base, "root")
		used, err := o.mount(root, way)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(root, "a")); err != nil || used != way {
			t.Errorf("way %d used %d: %v", way, used, err)
		}
		unix.Unmount(root, 0)
	}
	long := overlay{upper: t.TempDir(), work: t.TempDir()}
	for range 399 {
		long.lowers = append(long.lowers, trees[0])
	}
	if _, err := long.mount(t.TempDir(), 2); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("options that do not fit: %v", err)
	}
}

func TestSweep(t *testing.T) {
	dir := newStore(t)
	live := newManager(t, dir)
	dead, err := os.MkdirTemp(filepath.Join(dir.Path(), "tmp"), tempPrefix+"*")
	if err != nil {
		t.Fatal(err)
	}
	newManager(t, dir)
	if _, err := os.Lstat(dead); err == nil {
		t.Error("a dead manager's directory stays")
	}
	if _, err := os.Lstat(live.temp.Path); err != nil {
		t.Error(err)
	}
}

func TestGroundShowsThroughAndIsNoChange(t *testing.T) {
	ctx, dir := t.Context(), newStore(t)
	m := newManager(t, dir)
	s, err := m.Prepare(ctx, nil, Networked)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, place := range []string{"proc", "sys", "dev", "etc/hosts", "etc/resolv.conf"} {
		if _, err := os.Lstat(filepath.Join(s.Root(), place)); err != nil {
			t.Error(err)
		}
	}
	// What a step does to the ground and undoes is no change either.
	if err := os.Remove(filepath.Join(s.Root(), "etc/hosts")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(s.Root(), "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := layer.NewWriter(ctx, io.Discard, layer.WriterOptions{})
	if err := s.Diff(ctx, w); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	for e := range w.TOC().All() {
		if e.Name != "dev" && e.Name != "etc" { // touched directories of nobody's image are new ones
			t.Errorf("%s is in the difference", e.Name)
		}
	}
	if _, _, err := w.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A layer may lie in an image several times: empty ones often do.
func TestSameLayerTwice(t *testing.T) {
	ctx, dir := context.Background(), newStore(t)
	m := newManager(t, dir)
	a := tarLayer(t, file("a", "1"), file("both", "1"), file(".wh.gone", ""))
	b := tarLayer(t, file("b", "2"), file("both", "2"), file("gone", "2"))
	trees, err := m.Ensure(ctx, []Layer{a, b, a})
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Prepare(ctx, trees, Bare)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, want := range map[string]string{"a": "1", "b": "2", "both": "1", "gone": ""} {
		if got, _ := os.ReadFile(filepath.Join(s.Root(), name)); string(got) != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
