package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// hub is a registry whose answers a test may replace.
type hub struct {
	*httptest.Server
	host string
	hook func(w http.ResponseWriter, r *http.Request) bool // true: it answered

	mu  sync.Mutex
	log []string
}

func newHub(t *testing.T, hook func(w http.ResponseWriter, r *http.Request) bool) *hub {
	t.Helper()
	h := &hub{hook: hook}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.log = append(h.log, r.Method+" "+r.URL.Path)
		h.mu.Unlock()
		if h.hook != nil && h.hook(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(h.Close)
	h.host = strings.TrimPrefix(h.URL, "http://")
	return h
}

// count returns how many requests began so.
func (h *hub) count(prefix string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, l := range h.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (h *hub) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = nil
}

func quick() *Registries {
	return &Registries{Keychain: authn.NewMultiKeychain(), RetryDelay: time.Millisecond, stall: 5 * time.Second}
}

func repo(t *testing.T, r *Registries, name string) *Repository {
	t.Helper()
	p, err := r.Repository(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func blobOf(n int) ([]byte, ocispec.Descriptor) {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(data)
	return data, ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(n), MediaType: ocispec.MediaTypeImageLayerGzip}
}

func opener(data []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has more than one line: %q", err)
	}
}

func ignorePing(r *http.Request) bool { return r.URL.Path == "/v2/" }

func TestTemporaryErrorsAreRetried(t *testing.T) {
	tests := []struct {
		status   int
		failures int
		header   string
		ok       bool
		requests int
	}{
		{503, 3, "", true, 4},
		{500, 1, "", true, 2},
		{429, 2, "0", true, 3},
		{429, 1, "garbage", true, 2},
		{429, 1, "-5", true, 2},
		{408, 1, "", true, 2},
		{502, 9, "", false, 9},
		{404, 9, "", false, 1},
		{403, 9, "", false, 1},
		{418, 9, "", false, 1},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, tt.failures, tt.header), func(t *testing.T) {
			n := 0
			h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
				if ignorePing(r) {
					return false
				}
				if n++; n <= tt.failures {
					w.Header().Set("Retry-After", tt.header)
					w.WriteHeader(tt.status)
					return true
				}
				fmt.Fprint(w, "{}")
				return true
			})
			_, _, err := repo(t, quick(), h.host+"/a").Manifest(t.Context(), "v1")
			if (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
			if got := h.count("GET /v2/a/manifests/v1"); got != tt.requests {
				t.Errorf("%d requests, want %d", got, tt.requests)
			}
		})
	}
}

func TestErrorsAreOneClearLine(t *testing.T) {
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if ignorePing(r) {
				return false
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	tests := []struct {
		name  string
		hook  func(http.ResponseWriter, *http.Request) bool
		words []string
	}{
		{"not found", answer(404, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`), []string{"not found in registry 127.0.0.1:"}},
		{"unauthorized", answer(401, `{"errors":[{"code":"UNAUTHORIZED","message":"log in\n\u001b[31mplease"}]}`),
			[]string{"refuses access: log in  [31mplease", "ocibuild reads credentials from ~/.docker/config.json"}},
		{"forbidden", answer(403, `<html>`), []string{"refuses access", "config.json"}},
		{"teapot", answer(418, ``), []string{"answers 418 I'm a teapot"}},
		{"too large", answer(200, strings.Repeat(" ", MaxManifest+1)), []string{"more than 4194304 bytes"}},
		{"lying digest", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Docker-Content-Digest", digest.FromString("other").String())
			return answer(200, `{}`)(w, r)
		}, []string{"has the digest sha256:"}},
		{"no protocol", func(w http.ResponseWriter, r *http.Request) bool {
			http.NotFound(w, r)
			return true
		}, []string{"does not speak the registry protocol"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t, tt.hook)
			_, _, err := repo(t, quick(), h.host+"/a").Manifest(t.Context(), "v1")
			wantError(t, err, tt.words...)
		})
	}
	t.Run("refused", func(t *testing.T) {
		h := newHub(t, nil)
		h.Close()
		_, _, err := repo(t, quick(), h.host+"/a").Manifest(t.Context(), "v1")
		wantError(t, err, "registry "+h.host+": connection refused")
	})
}

func TestManifestByDigestIsVerified(t *testing.T) {
	h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if ignorePing(r) {
			return false
		}
		fmt.Fprint(w, `{"not":"it"}`)
		return true
	})
	_, _, err := repo(t, quick(), h.host+"/a").Manifest(t.Context(), digest.FromString("it").String())
	wantError(t, err, "has the digest")
}

// manifests serves one content for every manifest, or none.
func manifests(content []byte) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		if content == nil {
			http.NotFound(w, r)
		} else {
			w.Write(content)
		}
		return true
	}
}

func TestMirrors(t *testing.T) {
	manifest := []byte(`{"schemaVersion":2}`)
	origin := newHub(t, manifests(manifest))
	good, empty, gone := newHub(t, manifests(manifest)), newHub(t, manifests(nil)), newHub(t, nil)
	wrong := newHub(t, manifests([]byte("{}")))
	gone.Close()
	tests := []struct {
		name     string
		mirrors  []string
		inOrigin int // requests for manifests
		inMirror int
		mirror   *hub
		path     string
	}{
		{"first the mirror", []string{good.host}, 0, 2, good, "/v2/lib/a/manifests/"},
		{"mirror with a prefix", []string{good.host + "/proxy/hub"}, 0, 2, good, "/v2/proxy/hub/lib/a/manifests/"},
		{"mirror has it not", []string{empty.host}, 2, 2, empty, "/v2/lib/a/"},
		{"mirror is not there", []string{gone.host}, 2, 0, gone, "/"},
		{"mirror has something else", []string{wrong.host}, 2, 2, wrong, "/v2/lib/a/"},
		{"second mirror", []string{gone.host, good.host}, 0, 2, good, "/v2/lib/a/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			origin.reset()
			tt.mirror.reset()
			r := quick()
			r.Mirrors = map[string][]string{origin.host: tt.mirrors}
			p := repo(t, r, origin.host+"/lib/a")
			for range 2 {
				got, _, err := p.Manifest(t.Context(), digest.FromBytes(manifest).String())
				if err != nil || !bytes.Equal(got, manifest) {
					t.Fatalf("%q, %v", got, err)
				}
			}
			if n := origin.count("GET /v2/lib/a/manifests/"); n != tt.inOrigin {
				t.Errorf("%d requests to the registry, want %d", n, tt.inOrigin)
			}
			if n := tt.mirror.count("GET " + tt.path); n != tt.inMirror {
				t.Errorf("%d requests to the mirror, want %d", n, tt.inMirror)
			}
		})
	}
}

func TestCounterSeesAllBytes(t *testing.T) {
	h := newHub(t, nil)
	r := quick()
	r.Counter = &Counter{}
	data, desc := blobOf(200_000)
	p := repo(t, r, h.host+"/a")
	if err := p.PushBlob(t.Context(), desc, "", opener(data)); err != nil {
		t.Fatal(err)
	}
	if n := r.Counter.Sent(); n < 200_000 || n > 210_000 {
		t.Errorf("%d bytes sent", n)
	}
	before := r.Counter.Received()
	rd, err := p.Fetch(t.Context(), desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(rd); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := r.Counter.Received() - before; n < 200_000 || n > 210_000 {
		t.Errorf("%d bytes received", n)
	}
}

func TestRepositoryNames(t *testing.T) {
	for _, bad := range []string{"", "busybox", "example.com/UPPER", "example.com/../x", "example.com/a b"} {
		if p, err := quick().Repository(bad); err == nil && p.host == "" {
			t.Errorf("%q is accepted", bad)
		}
	}
	p := repo(t, quick(), "docker.io/library/busybox")
	if p.Host() != "docker.io" || p.home.repo.RegistryStr() != "index.docker.io" {
		t.Errorf("%s at %s", p.Host(), p.home.repo.RegistryStr())
	}
}
