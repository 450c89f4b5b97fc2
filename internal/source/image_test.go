package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/source/registry"
)

// shelf is a registry in this process that notes what it is asked for.
type shelf struct {
	host  string
	mu    sync.Mutex
	log   []string
	inner http.Handler
	hook  http.HandlerFunc // answers everything but the ping, if set
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		hook := s.hook
		if r.URL.Path != "/v2/" {
			s.log = append(s.log, r.Method+" "+r.URL.Path)
		}
		s.mu.Unlock()
		if hook != nil && r.URL.Path != "/v2/" {
			hook(w, r)
			return
		}
		s.inner.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	s.host = strings.TrimPrefix(srv.URL, "http://")
	return s
}

// asked returns the requests since it was called last.
func (s *shelf) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.log
	s.log = nil
	return l
}

func newImages(t *testing.T) *Images {
	t.Helper()
	dir, err := cache.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Images{Store: &faces.Store{Dir: dir}, Registries: &Registries{Keychain: authn.NewMultiKeychain()}}
}

// made is an image of a test: bytes by digest.
type made struct {
	blobs    map[digest.Digest][]byte
	manifest ocispec.Descriptor
}

func (m *made) add(mediaType string, data []byte) ocispec.Descriptor {
	if m.blobs == nil {
		m.blobs = map[digest.Digest][]byte{}
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	m.blobs[d.Digest] = data
	return d
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// newImage makes an image whose layers have these contents.
func newImage(p ocispec.Platform, contents ...string) *made {
	m := &made{}
	man := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	man.SchemaVersion = 2
	config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, c := range contents {
		man.Layers = append(man.Layers, m.add(ocispec.MediaTypeImageLayerGzip, []byte(c)))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromString("raw "+c))
	}
	man.Config = m.add(ocispec.MediaTypeImageConfig, mustJSON(config))
	raw := mustJSON(man)
	m.manifest = m.add(ocispec.MediaTypeImageManifest, raw)
	m.manifest.Platform = &p
	return m
}

func (m *made) push(t *testing.T, repo *registry.Repository, refs ...string) {
	t.Helper()
	for d, data := range m.blobs {
		if d == m.manifest.Digest {
			continue
		}
		open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		if err := repo.PushBlob(t.Context(), ocispec.Descriptor{Digest: d, Size: int64(len(data))}, "", open); err != nil {
			t.Fatal(err)
		}
	}
	for _, ref := range refs {
		if err := repo.PutManifest(t.Context(), ref, m.manifest.MediaType, m.blobs[m.manifest.Digest]); err != nil {
			t.Fatal(err)
		}
	}
}

func repoOf(t *testing.T, i *Images, name string) *registry.Repository {
	t.Helper()
	r, err := i.Registries.Repository(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}

func TestResolveReadsNoLayerAndAsksOnce(t *testing.T) {
	s, images := newShelf(t), newImages(t)
	m := newImage(amd64, "one", "two")
	m.push(t, repoOf(t, images, s.host+"/lib/base"), "v1")
	s.asked()

	img, err := images.Resolve(t.Context(), s.host+"/lib/base:v1", amd64, PreferLocal)
	if err != nil {
		t.Fatal(err)
	}
	if img.Digest != m.manifest.Digest || len(img.Layers) != 2 || !bytes.Equal(img.Document, m.blobs[img.Digest]) {
		t.Errorf("resolved %+v", img)
	}
	if digest.FromBytes(img.Config) != img.ConfigDigest {
		t.Error("config has another digest")
	}
	for _, l := range s.asked() {
		if strings.Contains(l, digest.FromString("one").Encoded()) {
			t.Errorf("a layer is read: %s", l)
		}
	}

	if _, err := images.Resolve(t.Context(), s.host+"/lib/base:v1", amd64, PreferLocal); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"HEAD /v2/lib/base/manifests/v1"}, s.asked()); diff != "" {
		t.Errorf("second time (-want +got):\n%s", diff)
	}
	pinned := s.host + "/lib/base:v1@" + m.manifest.Digest.String()
	img, err = images.Resolve(t.Context(), pinned, amd64, PreferLocal)
	if err != nil || img.Name != pinned {
		t.Fatal(img, err)
	}
	if got := s.asked(); len(got) != 0 {
		t.Errorf("by digest: %q", got)
	}
	b, err := img.Layers[1].Blob(t.Context())
	if err != nil || b.Descriptor.Digest != digest.FromString("two") {
		t.Errorf("layer %v, %v", b, err)
	}
	if origin := img.Layers[1].Faces().(interface{ Origin() string }).Origin(); origin != s.host+"/lib/base" {
		t.Errorf("origin %q", origin)
	}
}

func TestModes(t *testing.T) {
	s, images := newShelf(t), newImages(t)
	name := s.host + "/lib/base:v1"
	older, newer := newImage(amd64, "older"), newImage(amd64, "newer")
	older.push(t, repoOf(t, images, s.host+"/lib/base"), "v1")

	_, err := images.Resolve(t.Context(), name, amd64, LocalOnly)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("local only, nothing there: %v", err)
	}
	var seen sync.Map
	if _, err := images.Pull(t.Context(), name, amd64, func(d digest.Digest, n, total int64) { seen.Store(d, n == total) }); err != nil {
		t.Fatal(err)
	}
	if done, _ := seen.Load(digest.FromString("older")); done != true {
		t.Error("the progress of the layer did not end")
	}
	newer.push(t, repoOf(t, images, s.host+"/lib/base"), "v1")
	s.asked()
	for mode, want := range map[Mode]digest.Digest{
		PreferLocal: older.manifest.Digest, LocalOnly: older.manifest.Digest, Pull: newer.manifest.Digest,
	} {
		img, err := images.Resolve(t.Context(), name, amd64, mode)
		if err != nil || img.Digest != want {
			t.Errorf("mode %d: %v, %v", mode, img, err)
		}
	}
	if img, err := images.Load(t.Context(), name, amd64); err != nil || img.Digest != older.manifest.Digest {
		t.Errorf("load: %v, %v", img, err)
	}
	_, err = images.Resolve(t.Context(), name, ocispec.Platform{OS: "linux", Architecture: "s390x"}, LocalOnly)
	var missing *PlatformError
	if !errors.As(err, &missing) || missing.There[0] != "linux/amd64" {
		t.Errorf("another platform: %v", err)
	}
	s.hook = http.NotFound
	if _, err := images.Resolve(t.Context(), name, amd64, Pull); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("pull of what the registry has no more: %v", err)
	}
}

func TestPullFailsOnWrongBytes(t *testing.T) {
	s, images := newShelf(t), newImages(t)
	m := newImage(amd64, "right bytes")
	m.push(t, repoOf(t, images, s.host+"/a"), "v1")
	if _, err := images.Resolve(t.Context(), s.host+"/a:v1", amd64, Pull); err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"wrong bytes", "too short", "far too long, by any measure"} {
		s.hook = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.Header().Set("Docker-Content-Digest", m.manifest.Digest.String())
				return
			}
			io.WriteString(w, answer)
		}
		_, err := images.Pull(t.Context(), s.host+"/a:v1", amd64, nil)
		if err == nil {
			t.Errorf("%q is accepted", answer)
		}
		if _, ok := images.Store.Dir.HasBlob(digest.FromString("right bytes")); ok {
			t.Errorf("%q is kept", answer)
		}
		if _, err := images.Store.Dir.Resolve(s.host + "/a:v1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: the name is given: %v", answer, err)
		}
	}
}

func platform(arch, variant string) ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: arch, Variant: variant}
}

// pushIndex pushes an image for several platforms and returns their digests by
// architecture, and that of the index.
func pushIndex(t *testing.T, repo *registry.Repository) (map[string]digest.Digest, digest.Digest) {
	t.Helper()
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	digests := map[string]digest.Digest{}
	for _, p := range []ocispec.Platform{
		platform("arm", "v6"), platform("arm", "v7"), platform("amd64", "v2"), amd64, platform("arm64", "v8"),
		{OS: "unknown", Architecture: "unknown"},
	} {
		m := newImage(p, p.Architecture+p.Variant)
		m.push(t, repo, m.manifest.Digest.String())
		index.Manifests = append(index.Manifests, m.manifest)
		digests[p.Architecture+p.Variant] = m.manifest.Digest
	}
	if err := repo.PutManifest(t.Context(), "latest", index.MediaType, mustJSON(index)); err != nil {
		t.Fatal(err)
	}
	return digests, digest.FromBytes(mustJSON(index))
}

func TestPlatformChoice(t *testing.T) {
	s, images := newShelf(t), newImages(t)
	want, root := pushIndex(t, repoOf(t, images, s.host+"/multi"))
	tests := []struct {
		p    ocispec.Platform
		want string
	}{
		{amd64, "amd64"},
		{platform("x86_64", ""), "amd64"},
		{platform("amd64", "v2"), "amd64v2"},
		{platform("amd64", "v3"), "amd64v2"},
		{platform("arm", "v7"), "armv7"},
		{platform("arm", ""), "armv7"},
		{platform("arm", "v6"), "armv6"},
		{platform("arm64", ""), "arm64v8"},
		{platform("arm", "v5"), ""},
		{platform("s390x", ""), ""},
		{ocispec.Platform{OS: "windows", Architecture: "amd64"}, ""},
	}
	for _, tt := range tests {
		img, err := images.Resolve(t.Context(), s.host+"/multi", tt.p, PreferLocal)
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), `only for "linux/arm/v6, linux/arm/v7, linux/amd64/v2, linux/amd64, linux/arm64`) {
				t.Errorf("%v: %v", tt.p, err)
			}
			continue
		}
		if err != nil || img.Digest != want[tt.want] {
			t.Errorf("%v: %v, %v", tt.p, img, err)
			continue
		}
		if img.Root.Digest != root {
			t.Errorf("%v: root %v", tt.p, img.Root)
		}
	}
}

func TestErrorsNameTheImage(t *testing.T) {
	s, images := newShelf(t), newImages(t)
	_, err := images.Resolve(t.Context(), s.host+"/nope", amd64, PreferLocal)
	want := fmt.Sprintf("image %q: not found in registry %s", s.host+"/nope:latest", s.host)
	if err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	for _, bad := range []string{"", "UPPER", "a:b:c", "a@sha256:beef", "-/-"} {
		if _, err := images.Resolve(t.Context(), bad, amd64, PreferLocal); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]string{
		"busybox":                 "docker.io/library/busybox:latest",
		"user/app:1":              "docker.io/user/app:1",
		"localhost:5000/app":      "localhost:5000/app:latest",
		"index.docker.io/busybox": "docker.io/library/busybox:latest",
	} {
		if got, err := ParseName(in); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
}

func TestLayerOfARecord(t *testing.T) {
	s, images := newShelf(t), newImages(t)
	newImage(amd64, "content").push(t, repoOf(t, images, s.host+"/a"), "v1")
	c := cache.Layer{
		DiffID: digest.FromString("raw content"), Digest: digest.FromString("content"), Size: 7,
		MediaType: ocispec.MediaTypeImageLayerGzip, Origin: s.host + "/a",
	}
	l, err := images.Layer(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Blob(t.Context()); err != nil {
		t.Error(err)
	}
	c.Digest = "sha256:../.."
	if _, err := images.Layer(c); err == nil {
		t.Error("a malformed digest is accepted")
	}
}
