package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/wait"
	"github.com/ocibuild/ocibuild/layer"
)

const modified = "Tue, 14 Nov 2023 22:13:20 GMT" // 1700000000

// webServer counts its requests and remembers the last.
type webServer struct {
	*httptest.Server
	requests atomic.Int64
	seen     atomic.Pointer[http.Request]
}

func newWebServer(t *testing.T, h http.HandlerFunc) *webServer {
	t.Helper()
	s := &webServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.seen.Store(r)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// newWeb is a client over the store in dir, as a new process would have it.
func newWeb(t *testing.T, dir string) *Client {
	t.Helper()
	store, err := cache.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &Client{Store: store, Retry: wait.Policy{Retries: 3, Delay: time.Millisecond}}
	t.Cleanup(w.Close)
	return w
}

func fetchFile(t *testing.T, w *Client, op *graph.HTTP) (layer.Entry, string, error) {
	t.Helper()
	ctx := context.Background()
	tree, err := w.File(op).Tree(ctx)
	if err != nil {
		return layer.Entry{}, "", err
	}
	entries, err := tree.ReadDir(ctx, ".")
	if err != nil || len(entries) != 1 {
		t.Fatalf("entries %v, %v", entries, err)
	}
	r, err := tree.Open(ctx, entries[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return entries[0], string(data), nil
}

func serveText(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", modified)
		fmt.Fprint(w, text)
	}
}

func TestFileIsWhatBuildKitMakesOfIt(t *testing.T) {
	s := newWebServer(t, serveText("hello"))
	for name, tc := range map[string]struct {
		op   graph.HTTP
		want layer.Entry
	}{
		"plain": {graph.HTTP{URL: "/dir/file.txt?x=y"}, layer.Entry{Name: "file.txt", Mode: 0o600}},
		"asked": {
			graph.HTTP{URL: "/a", Filename: "__unnamed__", Perm: 0o4755, UID: 5, GID: 6},
			layer.Entry{Name: "__unnamed__", Mode: 0o4755, UID: 5, GID: 6},
		},
		"no name":  {graph.HTTP{URL: "/"}, layer.Entry{Name: "download", Mode: 0o600}},
		"climbing": {graph.HTTP{URL: "/%2e%2e%2f"}, layer.Entry{Name: "download", Mode: 0o600}},
		"path":     {graph.HTTP{URL: "/a", Filename: "/../../etc/passwd"}, layer.Entry{Name: "passwd", Mode: 0o600}},
		"control":  {graph.HTTP{URL: "/a%00b"}, layer.Entry{Name: "download", Mode: 0o600}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.op.URL = s.URL + tc.op.URL
			e, data, err := fetchFile(t, newWeb(t, t.TempDir()), &tc.op)
			if err != nil {
				t.Fatal(err)
			}
			w := tc.want
			if e.Name != w.Name || e.Mode != w.Mode || e.UID != w.UID || e.GID != w.GID || e.ModTime != 1700000000 || data != "hello" || e.Size != 5 {
				t.Errorf("entry %+v with %q, want %+v", e, data, w)
			}
		})
	}
}

func TestFileNameOfTheAnswerIsOnlyAName(t *testing.T) {
	for header, want := range map[string]string{
		`attachment; filename="x.tar"`:             "x.tar",
		`attachment; filename="../../../host/pwn"`: "pwn",
		`attachment; filename="/abs"`:              "abs",
		`attachment; filename=".."`:                "download",
		`attachment; filename="a/"`:                "f",
		`nonsense;;;`:                              "f",
	} {
		s := newWebServer(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Disposition", header) })
		e, _, err := fetchFile(t, newWeb(t, t.TempDir()), &graph.HTTP{URL: s.URL + "/f"})
		if err != nil || e.Name != want {
			t.Errorf("%s: name %q, %v, want %q", header, e.Name, err, want)
		}
		if e.ModTime != 0 {
			t.Errorf("a file without a time has %d", e.ModTime)
		}
	}
}

// An unchanged file is asked for and not sent again; a changed one is.
func TestRevalidates(t *testing.T) {
	for name, tc := range map[string]struct {
		header func(h http.Header, text string)
		bodies int64 // of three requests, the last for a changed file
	}{
		"tag":              {func(h http.Header, s string) { h.Set("ETag", `"`+s+`"`) }, 2},
		"weak tag":         {func(h http.Header, s string) { h.Set("ETag", `W/"`+s+`"`) }, 2},
		"time":             {func(h http.Header, s string) { h.Set("Last-Modified", httpTime(s)) }, 2},
		"time just passed": {func(h http.Header, _ string) { h.Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat)) }, 3},
		"nothing":          {func(http.Header, string) {}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			text := "one"
			var bodies int64
			s := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
				tc.header(w.Header(), text)
				etag, last := w.Header().Get("ETag"), w.Header().Get("Last-Modified")
				if m := r.Header.Get("If-None-Match"); m != "" && m == etag {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				if m := r.Header.Get("If-Modified-Since"); m != "" && m == last {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				bodies++
				fmt.Fprint(w, text)
			})
			dir := t.TempDir()
			for _, want := range []string{"one", "one", "two"} {
				text = want
				if _, got, err := fetchFile(t, newWeb(t, dir), &graph.HTTP{URL: s.URL + "/f"}); err != nil || got != want {
					t.Fatalf("got %q, %v, want %q", got, err, want)
				}
			}
			if bodies != tc.bodies || s.requests.Load() != 3 {
				t.Errorf("%d bodies of %d requests, want %d of 3", bodies, s.requests.Load(), tc.bodies)
			}
		})
	}
}

func httpTime(s string) string {
	return time.Unix(1700000000+int64(s[0])*1000, 0).UTC().Format(http.TimeFormat)
}

func TestBelievesNoDamagedRecord(t *testing.T) {
	s := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "right")
	})
	dir := t.TempDir()
	w := newWeb(t, dir)
	op := &graph.HTTP{URL: s.URL + "/f"}
	e, _, err := fetchFile(t, w, op)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.Store.BlobPath(e.Digest), []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, got, err := fetchFile(t, newWeb(t, dir), op); err != nil || got != "right" {
		t.Errorf("after damage %q, %v", got, err)
	}
	if err := w.Store.WriteSource(cache.SourceHTTP, recordName(op), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := fetchFile(t, newWeb(t, dir), op); err != nil || got != "right" {
		t.Errorf("after a damaged record %q, %v", got, err)
	}
}

func TestChecksum(t *testing.T) {
	s := newWebServer(t, serveText("hello"))
	dir := t.TempDir()
	ctx := context.Background()
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		op := &graph.HTTP{URL: s.URL + "/f", Filename: "f", Checksum: alg.FromString("hello")}
		before := s.requests.Load()
		if _, err := newWeb(t, dir).File(op).Pin(ctx); err != nil || s.requests.Load() != before {
			t.Errorf("a pinned file needed a request, or %v", err)
		}
		if _, got, err := fetchFile(t, newWeb(t, dir), op); err != nil || got != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests for what the store had", n)
	}
	wrong := digest.FromString("other")
	_, _, err := fetchFile(t, newWeb(t, dir), &graph.HTTP{URL: s.URL + "/f", Checksum: wrong})
	if err == nil || !strings.Contains(err.Error(), "digest mismatch") || !strings.Contains(err.Error(), wrong.String()) {
		t.Errorf("error %v", err)
	}
}

func TestPinIsContentNameModeAndOwner(t *testing.T) {
	text, last := "a", modified
	s := newWebServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", last)
		fmt.Fprint(w, text)
	})
	pin := func(op graph.HTTP) string {
		op.URL = s.URL + "/f"
		p, err := newWeb(t, t.TempDir()).File(&op).Pin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	base := pin(graph.HTTP{})
	if last = "Wed, 15 Nov 2023 22:13:20 GMT"; pin(graph.HTTP{}) != base {
		t.Error("the time is part of the pin")
	}
	if pin(graph.HTTP{Filename: "g"}) == base || pin(graph.HTTP{Perm: 0o644}) == base || pin(graph.HTTP{UID: 1}) == base || pin(graph.HTTP{GID: 1}) == base {
		t.Error("name, mode or owner are not part of the pin")
	}
	if text = "b"; pin(graph.HTTP{}) == base {
		t.Error("the content is not part of the pin")
	}
}
