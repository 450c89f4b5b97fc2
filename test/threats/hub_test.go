//go:build linux

package threats

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// hub is a registry of somebody who means no good: it serves whatever bytes it
// was given under whatever name. What it does not know, a real registry answers.
type hub struct {
	t    *testing.T
	host string
	hook func(w http.ResponseWriter, r *http.Request) bool // true: it answered

	mu        sync.Mutex
	blobs     map[string][]byte   // by digest, which they need not have
	manifests map[string]document // by "repository:tag" or "repository@digest"
	asked     []*http.Request
}

// quiet drops what servers have to say of clients that have gone.
var quiet = log.New(io.Discard, "", 0)

type document struct {
	mediaType string
	data      []byte
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t, blobs: map[string][]byte{}, manifests: map[string]document{}}
	real := ggcr.New(ggcr.Logger(quiet))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked = append(h.asked, r.Clone(r.Context()))
		hook := h.hook
		h.mu.Unlock()
		if hook != nil && hook(w, r) || h.serve(w, r) {
			return
		}
		real.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	h.host = strings.TrimPrefix(s.URL, "http://")
	return h
}

// answers sets the hook, for those who ask from other processes.
func (h *hub) answers(hook func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

func (h *hub) serve(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	h.mu.Lock()
	defer h.mu.Unlock()
	if repo, ref, ok := strings.Cut(path, "/manifests/"); ok {
		sep := ":"
		if strings.Contains(ref, ":") {
			sep = "@"
		}
		doc, ok := h.manifests[repo+sep+ref]
		if ok {
			w.Header().Set("Content-Type", doc.mediaType)
			w.Header().Set("Docker-Content-Digest", digest.FromBytes(doc.data).String())
			answer(w, r, doc.data)
		}
		return ok
	}
	if _, d, ok := strings.Cut(path, "/blobs/"); ok {
		data, ok := h.blobs[d]
		if ok {
			answer(w, r, data)
		}
		return ok
	}
	return false
}

func answer(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // a client that has gone is no concern of the test
	}
}

// requests returns what was asked for, the ones whose method and path begin so.
func (h *hub) requests(prefix string) []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*http.Request
	for _, r := range h.asked {
		if strings.HasPrefix(r.Method+" "+r.URL.Path, prefix) {
			out = append(out, r)
		}
	}
	return out
}

// blob keeps bytes and describes them.
func (h *hub) blob(mediaType string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blobs[d.String()] = data
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// put names a document, and returns the name for FROM.
func (h *hub) put(name, mediaType string, data []byte) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.manifests[name+":latest"] = document{mediaType, data}
	h.manifests[name+"@"+digest.FromBytes(data).String()] = document{mediaType, data}
	return h.host + "/" + name
}

// image is an image to be lied about: fields are what JSON they become.
type image struct {
	config, manifest map[string]any
	layers           []ocispec.Descriptor
	diffIDs          []digest.Digest
	mediaType        string // of the manifest
}

const goarch = runtime.GOARCH

// image serves an image of uncompressed layers under a name. change may lie
// about anything before it is written down.
func (h *hub) image(name string, change func(*image), layers ...[]byte) string {
	h.t.Helper()
	img := &image{mediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		img.add(h, ocispec.MediaTypeImageLayer, l, l)
	}
	return h.lie(name, img, change)
}

// add adds a layer whose tar is raw and whose blob may be something else.
func (img *image) add(h *hub, mediaType string, blob, raw []byte) {
	img.layers = append(img.layers, h.blob(mediaType, blob))
	img.diffIDs = append(img.diffIDs, digest.FromBytes(raw))
}

func (h *hub) lie(name string, img *image, change func(*image)) string {
	h.t.Helper()
	if img.diffIDs == nil {
		img.diffIDs, img.layers = []digest.Digest{}, []ocispec.Descriptor{}
	}
	img.config = map[string]any{
		"architecture": goarch, "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": img.diffIDs},
	}
	img.manifest = map[string]any{"schemaVersion": 2, "mediaType": img.mediaType, "layers": img.layers}
	if change != nil {
		change(img)
	}
	if img.manifest["config"] == nil {
		img.manifest["config"] = h.blob(ocispec.MediaTypeImageConfig, jsonOf(h.t, img.config))
	}
	return h.put(name, img.mediaType, jsonOf(h.t, img.manifest))
}

// withConfig changes what the image says of how it runs.
func withConfig(values map[string]any) func(*image) {
	return func(img *image) {
		for k, v := range values {
			img.config["config"].(map[string]any)[k] = v
		}
	}
}

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// base serves an image that has a shell, with further layers on it.
func (h *hub) base(layers ...[]byte) string {
	h.t.Helper()
	return h.baseWith(nil, layers...)
}

func (h *hub) baseWith(change func(*image), layers ...[]byte) string {
	h.t.Helper()
	base, err := baseLayer()
	if err != nil {
		h.t.Skipf("SKIPPED: needs a static busybox: %v", err)
	}
	h.mu.Lock()
	h.blobs[base.digest.String()] = base.tar
	n := len(h.manifests)
	h.mu.Unlock()
	img := &image{
		mediaType: ocispec.MediaTypeImageManifest, diffIDs: []digest.Digest{base.digest},
		layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: base.digest, Size: int64(len(base.tar))}},
	}
	for _, l := range layers {
		img.add(h, ocispec.MediaTypeImageLayer, l, l)
	}
	return h.lie(fmt.Sprintf("base%d", n), img, change)
}

type hashed struct {
	tar    []byte
	digest digest.Digest
}

// baseLayer holds busybox and a few users.
var baseLayer = sync.OnceValues(func() (*hashed, error) {
	program, err := staticBusybox()
	if err != nil {
		return nil, err
	}
	entries := []entry{dir("bin"), executable("bin/busybox", program), dir("etc"), dir("tmp"),
		file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"), file("etc/group", "root:x:0:\napp:x:1000:\ngrp:x:2000:app\n")}
	for _, a := range applets {
		entries = append(entries, symlink("bin/"+a, "busybox"))
	}
	data, err := pack(entries)
	data = append(data, make([]byte, 1024)...)
	return &hashed{data, digest.FromBytes(data)}, err
})
