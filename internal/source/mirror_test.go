package source

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// wrongBlobs are ways in which a mirror serves something else than the blob.
var wrongBlobs = map[string]func(w http.ResponseWriter, data []byte){
	"flipped": func(w http.ResponseWriter, data []byte) {
		data = bytes.Clone(data)
		data[len(data)/2] ^= 1
		w.Write(data)
	},
	"cut, announced": func(w http.ResponseWriter, data []byte) { w.Write(data[:len(data)/2]) },
	"cut, at each try": func(w http.ResponseWriter, data []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data[:len(data)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
	"wrong, then cut": func(w http.ResponseWriter, data []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(bytes.Repeat([]byte("x"), len(data)/2))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
	"longer, announced": func(w http.ResponseWriter, data []byte) { w.Write(append(bytes.Clone(data), 'x')) },
	"longer": func(w http.ResponseWriter, data []byte) {
		w.(http.Flusher).Flush()
		w.Write(data)
		w.Write([]byte("x"))
	},
	"page":  func(w http.ResponseWriter, _ []byte) { io.WriteString(w, "<html>welcome") },
	"empty": func(w http.ResponseWriter, _ []byte) {},
	"error": func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusInternalServerError) },
}

// randomImage has a large layer, of which a part is kept when its pull is
// interrupted, and a small one.
func randomImage() *made {
	large, small := make([]byte, 2<<20), make([]byte, 1000)
	r := rand.NewChaCha8([32]byte{})
	r.Read(large)
	r.Read(small)
	return newImage(amd64, string(large), string(small))
}

// mirrorOf serves the image's documents as they are and its blobs by serve.
func mirrorOf(t *testing.T, m *made, serve func(w http.ResponseWriter, data []byte)) *shelf {
	s := newShelf(t)
	m.push(t, repoOf(t, newImages(t), s.host+"/a/b"), "v1", m.manifest.Digest.String())
	inner := s.inner
	s.hook = func(w http.ResponseWriter, r *http.Request) {
		_, d, ok := strings.Cut(r.URL.Path, "/blobs/")
		if data := m.blobs[digest.Digest(d)]; ok && data != nil {
			serve(w, data)
			return
		}
		inner.ServeHTTP(w, r)
	}
	return s
}

func TestA4AMirrorWithWrongBlobsIsPassedOver(t *testing.T) {
	m := randomImage()
	origin := newShelf(t)
	m.push(t, repoOf(t, newImages(t), origin.host+"/a/b"), "v1", m.manifest.Digest.String())
	for name, serve := range wrongBlobs {
		t.Run(name, func(t *testing.T) {
			bad, worse := mirrorOf(t, m, serve), mirrorOf(t, m, serve)
			i := newImages(t)
			i.Registries.RetryDelay = time.Millisecond
			i.Registries.Mirrors = map[string][]string{origin.host: {bad.host, worse.host}}
			var mu sync.Mutex
			said := map[string]int{}
			ctx := wait.With(t.Context(), func(text string) {
				mu.Lock()
				defer mu.Unlock()
				if strings.Contains(text, "continuing with") {
					said[text]++
				}
			})
			img, err := i.Pull(ctx, origin.host+"/a/b:v1", amd64, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range img.Layers {
				d, _ := l.Descriptor(ctx)
				if err := i.Store.Dir.VerifyBlob(d.Digest, d.Size); err != nil {
					t.Error(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			var from, to int
			for text, n := range said {
				if n > 1 {
					t.Errorf("said %d times: %s", n, text)
				}
				from += strings.Count(text, "mirror "+bad.host)
				to += strings.Count(text, "continuing with "+origin.host)
			}
			if from < 1 || from > 3 || to < 1 {
				t.Errorf("said %v", said)
			}
		})
	}
}

// What came from a mirror before the pull was interrupted is not built upon.
func TestA4AnInterruptedPullFromABadMirror(t *testing.T) {
	m := randomImage()
	origin := newShelf(t)
	m.push(t, repoOf(t, newImages(t), origin.host+"/a/b"), "v1", m.manifest.Digest.String())
	bad := mirrorOf(t, m, wrongBlobs["wrong, then cut"])
	i := newImages(t)
	i.Registries.RetryDelay = time.Millisecond
	i.Registries.Retries = -1
	name := origin.host + "/a/b:v1"
	i.Registries.Mirrors = map[string][]string{origin.host: {bad.host}}
	origin.hook = func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		origin.inner.ServeHTTP(w, r)
	}
	if _, err := i.Pull(t.Context(), name, amd64, nil); err == nil {
		t.Fatal("pulled from nowhere")
	}
	origin.hook = nil
	i.Registries = &Registries{Keychain: i.Registries.Keychain, RetryDelay: time.Millisecond}
	img, err := i.Pull(t.Context(), name, amd64, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := img.Layers[0].Descriptor(t.Context())
	if err := i.Store.Dir.VerifyBlob(d.Digest, d.Size); err != nil {
		t.Error(err)
	}
}
