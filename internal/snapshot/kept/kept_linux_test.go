package kept

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// house is a store, and what makes layers in it.
type house struct {
	t     testing.TB
	dir   *cache.Dir
	faces *faces.Store
	m     *Manager
}

func newHouse(t testing.TB) *house {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: owners of files need root")
	}
	dir, err := cache.OpenDir(filepath.Join(t.TempDir(), "store[x]")) // which is no pattern
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dir: dir, faces: &faces.Store{Dir: dir}}
	h.m = h.manager()
	t.Cleanup(func() {
		h.faces.Wait()
		if err := h.m.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) manager() *Manager {
	h.t.Helper()
	m, err := NewManager(h.dir, false, func(l snapshot.Layer) *layer.Layer {
		size := int64(0)
		if fi, err := os.Stat(l.Blob); err == nil {
			size = fi.Size()
		}
		return h.faces.Local(cache.Layer{DiffID: l.DiffID, Digest: digest.NewDigestFromEncoded("sha256", filepath.Base(l.Blob)), Size: size, MediaType: l.MediaType})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

var then = time.Unix(1_600_000_000, 0)

// layer writes a layer; the content of a regular file is in its Linkname.
func (h *house) layer(headers ...tar.Header) snapshot.Layer {
	h.t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, th := range headers {
		content := ""
		if th.Typeflag == tar.TypeReg {
			content, th.Linkname, th.Size = th.Linkname, "", int64(len(th.Linkname))
		}
		if th.ModTime.IsZero() {
			th.ModTime = then
		}
		if th.Mode == 0 {
			th.Mode = 0o755
		}
		if err := w.WriteHeader(&th); err != nil {
			h.t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	w.Close()
	d := digest.FromBytes(buf.Bytes())
	if err := h.dir.PutBlob(context.Background(), &buf, d, int64(buf.Len())); err != nil {
		h.t.Fatal(err)
	}
	return snapshot.Layer{DiffID: d, Blob: h.dir.BlobPath(d), MediaType: ocispec.MediaTypeImageLayer}
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content}
}

func folder(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }

func hardlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

func (h *house) prepare(layers ...snapshot.Layer) *Tree {
	h.t.Helper()
	t, err := h.m.Prepare(context.Background(), layers)
	if err != nil {
		h.t.Fatal(err)
	}
	return t
}

// begin is prepare for a step.
func (h *house) begin(layers ...snapshot.Layer) *Tree {
	h.t.Helper()
	t := h.prepare(layers...)
	h.must(t.Begin(context.Background()))
	t.Spoil()
	return t
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// differ is what a step leaves behind.
type different interface {
	Diff(context.Context, *layer.Writer) error
	Adopt(digest.Digest) (string, error)
}

// commit makes a layer of the changes, and lets the tree wait.
func (h *house) commit(t different) (snapshot.Layer, []string) {
	h.t.Helper()
	l, err := h.faces.Create(context.Background(), faces.CreateOptions{}, func(w *layer.Writer) error { return t.Diff(context.Background(), w) })
	h.must(err)
	_, err = t.Adopt(l.DiffID)
	h.must(err)
	b, err := l.Blob(context.Background())
	h.must(err)
	toc, err := l.TOC(context.Background())
	h.must(err)
	var lines []string
	for e := range toc.All() {
		lines = append(lines, line(e))
	}
	return snapshot.Layer{DiffID: l.DiffID, Blob: b.Path, MediaType: b.Descriptor.MediaType}, lines
}

// line describes an entry, with times of today as one.
func line(e layer.Entry) string {
	when := fmt.Sprint(e.ModTime)
	if time.Since(time.Unix(e.ModTime, 0)) < 24*time.Hour {
		when = "now"
	}
	if e.Type == layer.Whiteout {
		return fmt.Sprintf("%s gone", e.Name)
	}
	var xattrs []string
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		xattrs = append(xattrs, k+"="+e.Xattrs[k])
	}
	mode := e.Mode
	if e.Type == layer.Symlink {
		mode = 0
	}
	return strings.TrimRight(fmt.Sprintf("%s %c %04o %d:%d %s %d,%d %s %s %s opaque=%t", e.Name, e.Type, mode, e.UID, e.GID, when,
		e.Devmajor, e.Devminor, e.Linkname, string(e.Digest)[:min(14, len(e.Digest))], strings.Join(xattrs, " "), e.Opaque), " ")
}

func (h *house) read(path string) string {
	h.t.Helper()
	data, err := os.ReadFile(path)
	h.must(err)
	return string(data)
}

func (h *house) write(path, content string) {
	h.t.Helper()
	h.must(os.WriteFile(path, []byte(content), 0o644))
}

func TestTreesGoOn(t *testing.T) {
	h := newHouse(t)
	base := []snapshot.Layer{h.layer(folder("d/"), file("d/a", "1"), file("b", "1")), h.layer(file("b", "2"), file("d/.wh.a", ""))}
	one := h.begin(base...)
	if got := h.read(one.Root() + "/b"); got != "2" {
		t.Errorf("b is %q", got)
	}
	if _, err := os.Lstat(one.Root() + "/d/a"); err == nil {
		t.Error("what the second layer removes is there")
	}
	h.write(one.Root()+"/d/c", "3")
	was, err := os.Lstat(one.Root() + "/b")
	h.must(err)
	added, lines := h.commit(one)
	if diff := cmp.Diff([]string{"d 5 0755 0:0 now 0,0    opaque=false", "d/c 0 0644 0:0 now 0,0  sha256:4e07408  opaque=false"}, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	added.Blob = "" // not needed: the tree waits
	if got := h.m.Has(append(base, added)); !slices.Equal(got, []bool{true, true, true}) {
		t.Errorf("%v", got)
	}
	two := h.begin(append(base, added)...)
	is, err := os.Lstat(two.Root() + "/b")
	h.must(err)
	if !os.SameFile(was, is) {
		t.Error("the tree was copied")
	}
	if _, lines := h.commit(two); lines != nil {
		t.Errorf("a step that changes nothing: %q", lines)
	}
	other := h.prepare(base...) // of which there is no tree any more
	if _, err := os.Lstat(other.Root() + "/d/c"); err == nil {
		t.Error("it is not the tree of these layers")
	}
	h.must(other.Close())
}

func TestBlobsAreAskedForWhenTheTreeIsTaken(t *testing.T) {
	h := newHouse(t)
	base := h.layer(file("a", "1"))
	h.must(h.prepare(base).Close())
	unknown := snapshot.Layer{DiffID: base.DiffID}
	if got := h.m.Has([]snapshot.Layer{unknown}); !got[0] {
		t.Fatal("no tree waits")
	}
	first := h.prepare(unknown)
	_, err := h.m.Prepare(context.Background(), []snapshot.Layer{unknown})
	var missing *MissingError
	if !errors.As(err, &missing) || !slices.Equal(missing.DiffIDs, []digest.Digest{base.DiffID}) {
		t.Errorf("got %v, want that a blob is missing", err)
	}
	second := h.prepare(base)
	h.must(first.Close())
	h.must(second.Close())
}

func TestAFailedStepLeavesNoTree(t *testing.T) {
	h := newHouse(t)
	base := h.layer(file("a", "1"))
	s := h.begin(base)
	h.write(s.Root()+"/a", "changed")
	h.must(s.Close())
	if h.m.Has([]snapshot.Layer{base})[0] {
		t.Error("a changed tree waits")
	}
	s = h.prepare(base)
	if got := h.read(s.Root() + "/a"); got != "1" {
		t.Errorf("a is %q", got)
	}
	h.must(s.Close())
}

func TestOnlyTheNewestTreesStay(t *testing.T) {
	h := newHouse(t)
	for i := range 2 * idle {
		h.must(h.prepare(h.layer(file("a", fmt.Sprint(i)))).Close())
	}
	h.must(h.m.Close())
	left, err := os.ReadDir(filepath.Join(h.dir.TreesPath(), flavour))
	h.must(err)
	if len(left) != idle {
		t.Errorf("%d trees stay", len(left))
	}
	h.m = h.manager()
	if !h.m.Has([]snapshot.Layer{h.layer(file("a", fmt.Sprint(2*idle-1)))})[0] {
		t.Error("the newest is gone")
	}
}
