package output

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/layer"
)

var _ = []Sink{&Layout{}, &Archive{}, &Registry{}}

func newImages(t *testing.T) *source.Images {
	t.Helper()
	dir, err := cache.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &source.Images{
		Store:      &faces.Store{Dir: dir},
		Registries: &source.Registries{Keychain: authn.NewMultiKeychain(), Counter: &source.Counter{}},
	}
}

// noise returns n bytes that are always the same for a seed.
func noise(n int, seed byte) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// newImage makes an image whose layers, of these bytes, are in the store.
func newImage(t *testing.T, s *faces.Store, name string, layers ...[]byte) *Result {
	t.Helper()
	var all []*layer.Layer
	for _, data := range layers {
		l := cache.Layer{
			DiffID: digest.FromString("raw " + digest.FromBytes(data).String()), Digest: digest.FromBytes(data),
			Size: int64(len(data)), MediaType: ocispec.MediaTypeImageLayerGzip,
		}
		if err := s.Dir.PutBlob(t.Context(), bytes.NewReader(data), l.Digest, l.Size); err != nil {
			t.Fatal(err)
		}
		all = append(all, s.Local(l))
	}
	return imageOf(t, name, all...)
}

func imageOf(t *testing.T, name string, layers ...*layer.Layer) *Result {
	t.Helper()
	p := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	m.SchemaVersion = 2
	for _, l := range layers {
		desc, err := l.Descriptor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, desc)
	}
	img := &Image{Config: mustJSON(t, config), Layers: layers}
	m.Config = descriptorOf(ocispec.MediaTypeImageConfig, img.Config)
	img.Manifest = mustJSON(t, m)
	img.Descriptor = descriptorOf(ocispec.MediaTypeImageManifest, img.Manifest)
	img.Descriptor.Platform = &p
	return &Result{Names: nameList(name), Descriptor: img.Descriptor, Images: []*Image{img}}
}

func descriptorOf(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// skopeo runs another implementation on what we wrote.
func skopeo(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("SKIPPED: skopeo is not installed, so nobody else checks what was written")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Errorf("skopeo %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// names returns "tag name digest" of each image of a layout.
func names(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var idx ocispec.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range idx.Manifests {
		out = append(out, strings.Join([]string{
			m.Annotations[ocispec.AnnotationRefName], m.Annotations[cache.AnnotationName], m.Digest.Encoded()[:8],
		}, " "))
	}
	return out
}

func TestLayoutKeepsOtherImagesAndReplacesTags(t *testing.T) {
	s := newImages(t).Store
	dir := filepath.Join(t.TempDir(), "new", "layout")
	first := newImage(t, s, "example.com/a:one", noise(5000, 1), noise(100, 2))
	second := newImage(t, s, "example.com/a:two", noise(5000, 1), noise(100, 3))
	third := newImage(t, s, "", noise(100, 4))
	put := func(img *Result, names ...string) {
		t.Helper()
		if err := (&Layout{Dir: dir, Names: names}).Write(t.Context(), img); err != nil {
			t.Fatal(err)
		}
	}
	id := func(i *Result) string { return i.Descriptor.Digest.Encoded()[:8] }
	put(first)
	put(second)
	put(third)
	put(third)
	want := []string{"one example.com/a:one " + id(first), "two example.com/a:two " + id(second), "  " + id(third)}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	put(third, "b:one", "b:three")
	want = []string{
		"two example.com/a:two " + id(second),
		"one docker.io/library/b:one " + id(third), "three docker.io/library/b:three " + id(third),
	}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for d, size := range map[digest.Digest]int64{digest.FromBytes(noise(5000, 1)): 5000, second.Descriptor.Digest: second.Descriptor.Size} {
		fi, err := os.Stat(filepath.Join(dir, "blobs", "sha256", d.Encoded()))
		if err != nil || fi.Size() != size || fi.Mode().Perm()&0o044 != 0o044 && runtime.GOOS != "windows" {
			t.Errorf("blob %s: %v, %v", d, fi, err)
		}
	}
	if out := skopeo(t, "inspect", "oci:"+dir+":two"); !strings.Contains(out, digest.FromBytes(noise(100, 3)).String()) {
		t.Errorf("skopeo sees %s", out)
	}
}

func TestLayoutLeavesWhatItDoesNotUnderstand(t *testing.T) {
	s := newImages(t).Store
	img := newImage(t, s, "a:1", noise(10, 1))
	for file, content := range map[string]string{
		"oci-layout": `{"imageLayoutVersion":"9.0.0"}`, "index.json": `damaged`,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := (&Layout{Dir: dir}).Write(t.Context(), img); err == nil {
			t.Errorf("%s: no error", file)
		}
		if data, _ := os.ReadFile(path); string(data) != content {
			t.Errorf("%s is overwritten", file)
		}
	}
}

func TestLayoutWrittenByManyAtOnce(t *testing.T) {
	s := newImages(t).Store
	dir := t.TempDir()
	var group sync.WaitGroup
	for n := range 10 {
		img := newImage(t, s, "a:"+string(rune('a'+n)), noise(1000, 1), noise(10, byte(n)))
		group.Go(func() {
			if err := (&Layout{Dir: dir}).Write(t.Context(), img); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := names(t, dir); len(got) != 10 {
		t.Errorf("%d of 10 images: %q", len(got), got)
	}
}

func TestArchiveIsDeterministicAndWhole(t *testing.T) {
	s := newImages(t).Store
	img := newImage(t, s, "example.com/a:one", noise(3_000_000, 1), noise(100, 2), noise(100, 2))
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := (&Archive{Path: path, Docker: true}).Write(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := (&Archive{Writer: &again, Docker: true}).Write(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(first, again.Bytes()) {
		t.Errorf("%d and %d bytes differ, %v", len(first), again.Len(), err)
	}
	var got []string
	r := tar.NewReader(&again)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: time %v, owner %d %q", h.Name, h.ModTime, h.Uid, h.Uname)
		}
		if d := digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(h.Name)); d.Validate() == nil {
			if data, _ := io.ReadAll(r); digest.FromBytes(data) != d {
				t.Errorf("%s has other bytes", h.Name)
			}
		}
		got = append(got, h.Name)
	}
	if !slices.IsSorted(got) || len(got) != 9 {
		t.Errorf("members %q", got)
	}
	for _, kind := range []string{"oci-archive:" + path + ":one", "docker-archive:" + path + ":example.com/a:one"} {
		skopeo(t, "inspect", "--raw", kind)
	}
}

func TestArchiveDoesNotReplaceDevices(t *testing.T) {
	img := newImage(t, newImages(t).Store, "a:1", noise(10, 1))
	path := filepath.Join(t.TempDir(), "null")
	if err := os.Symlink(os.DevNull, path); err != nil {
		t.Skip("SKIPPED: no symbolic links here:", err)
	}
	if err := (&Archive{Path: path}).Write(t.Context(), img); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().IsRegular() {
		t.Errorf("%v, %v", fi, err)
	}
	if err := (&Archive{Path: t.TempDir()}).Write(t.Context(), img); err == nil {
		t.Error("a directory is taken for a file")
	}
}

func TestHalfAnArchiveIsNeverLeft(t *testing.T) {
	s := newImages(t).Store
	img := newImage(t, s, "a:1", noise(1000, 1))
	dir := t.TempDir()
	path := filepath.Join(dir, "image.tar")
	if err := os.WriteFile(path, []byte("older"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The blob shrinks after it was described.
	if err := os.Truncate(s.Dir.BlobPath(digest.FromBytes(noise(1000, 1))), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := img.Images[0].Layers[0].Blob(t.Context()); err == nil {
		t.Fatal("the damage is not seen")
	}
	o := &Archive{Path: path}
	if err := o.Write(t.Context(), img); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Write(ctx, newImage(t, s, "a:1", noise(1000, 2))); err == nil {
		t.Error("no error after the end of the context")
	}
	entries, _ := os.ReadDir(dir)
	data, _ := os.ReadFile(path)
	if len(entries) != 1 || string(data) != "older" {
		t.Errorf("%v, %q", entries, data)
	}
}

func TestImagesThatContradictThemselves(t *testing.T) {
	s := newImages(t).Store
	good := func() *Result { return newImage(t, s, "a:1", noise(10, 1), noise(10, 2)) }
	for name, spoil := range map[string]func(*Result){
		"config":     func(r *Result) { r.Images[0].Config = []byte("{}") },
		"manifest":   func(r *Result) { r.Images[0].Manifest = append(r.Images[0].Manifest, ' ') },
		"layers":     func(r *Result) { r.Images[0].Layers = r.Images[0].Layers[:1] },
		"their rank": func(r *Result) { slices.Reverse(r.Images[0].Layers) },
		"name":       func(r *Result) { r.Names = []string{"a@" + r.Descriptor.Digest.String()} },
		"index":      func(r *Result) { r.Index = []byte("{}") },
		"its images": func(r *Result) {
			x := newIndex()
			x.Manifests = []ocispec.Descriptor{descriptorOf(ocispec.MediaTypeImageManifest, []byte("elsewhere"))}
			r.Index = mustJSON(t, x)
			r.Descriptor = descriptorOf(ocispec.MediaTypeImageIndex, r.Index)
		},
	} {
		img := good()
		spoil(img)
		if err := (&Layout{Dir: t.TempDir()}).Write(t.Context(), img); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func nameList(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

func TestF7ZeroOutputsAreRefused(t *testing.T) {
	for name, sink := range map[string]Sink{"layout": &Layout{}, "folder": &Folder{}, "archive": &Archive{}, "tar": &Tar{}, "registry": &Registry{}} {
		_, err := builder.Build(t.Context(), builder.Options{Context: t.TempDir(), Store: t.TempDir(), DockerfileData: []byte("FROM scratch\n"), Sinks: []Sink{sink}})
		var oe *builder.OptionError
		if !errors.As(err, &oe) || oe.Field != name {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
