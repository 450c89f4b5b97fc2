package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/graph"
)

func secrets(m map[string]string) func(string) ([]byte, bool, error) {
	return func(id string) ([]byte, bool, error) {
		v, ok := m[id]
		return []byte(v), ok, nil
	}
}

func TestAuthorization(t *testing.T) {
	s := newWebServer(t, serveText("x"))
	host := strings.TrimPrefix(s.URL, "http://")
	for name, tc := range map[string]struct {
		op      graph.HTTP
		secrets map[string]string
		want    string
	}{
		"none":            {want: ""},
		"token":           {secrets: map[string]string{"HTTP_AUTH_TOKEN_127.0.0.1": "tok\n"}, want: "Bearer tok"},
		"header":          {secrets: map[string]string{"HTTP_AUTH_HEADER_127.0.0.1": "Basic abc"}, want: "Basic abc"},
		"token wins":      {secrets: map[string]string{"HTTP_AUTH_HEADER_127.0.0.1": "h", "HTTP_AUTH_TOKEN_127.0.0.1": "t"}, want: "Bearer t"},
		"of another host": {secrets: map[string]string{"HTTP_AUTH_TOKEN_example.com": "t"}, want: ""},
		"named":           {op: graph.HTTP{AuthSecret: "S"}, secrets: map[string]string{"S": "Basic s", "HTTP_AUTH_TOKEN_127.0.0.1": "t"}, want: "Basic s"},
		"in the URL":      {op: graph.HTTP{URL: "http://u:p@" + host + "/f"}, want: "Basic dTpw"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t, t.TempDir())
			w.Secret = secrets(tc.secrets)
			if tc.op.URL == "" {
				tc.op.URL = s.URL + "/f"
			}
			if _, _, err := fetchFile(t, w, &tc.op); err != nil {
				t.Fatal(err)
			}
			if got := s.seen.Load().Header.Get("Authorization"); got != tc.want {
				t.Errorf("Authorization %q, want %q", got, tc.want)
			}
		})
	}
	_, _, err := fetchFile(t, newWeb(t, t.TempDir()), &graph.HTTP{URL: s.URL, AuthSecret: "S"})
	if err == nil || !strings.Contains(err.Error(), "secret S is required") {
		t.Errorf("error %v", err)
	}
}

// A redirect to another origin must not carry what was meant for the first.
func TestRedirectsWithoutCredentials(t *testing.T) {
	other := newWebServer(t, serveText("there"))
	s := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/f", http.StatusFound)
		case "/near":
			http.Redirect(w, r, "/f", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		default:
			serveText("here")(w, r)
		}
	})
	get := func(path, user string) (string, error) {
		w := newWeb(t, t.TempDir())
		w.Secret = secrets(map[string]string{"HTTP_AUTH_TOKEN_127.0.0.1": "S3CR3T"})
		_, data, err := fetchFile(t, w, &graph.HTTP{URL: strings.Replace(s.URL, "//", "//"+user, 1) + path})
		return data, err
	}
	for _, user := range []string{"", "u:S3CR3T@"} {
		if data, err := get("/away", user); err != nil || data != "there" {
			t.Fatalf("got %q, %v", data, err)
		}
		for k, v := range other.seen.Load().Header {
			if k == "Authorization" || k == "Referer" || strings.Contains(fmt.Sprint(v), "S3CR3T") {
				t.Errorf("the other host saw %s: %s", k, v)
			}
		}
	}
	if data, err := get("/near", ""); err != nil || data != "here" || s.seen.Load().Header.Get("Authorization") != "Bearer S3CR3T" {
		t.Errorf("in its own origin: %q, %v", data, err)
	}
	for path, says := range map[string]string{"/loop": "redirects", "/file": "file"} {
		if _, err := get(path, "u:S3CR3T@"); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

func TestErrorsAreOneLineWithoutCredentials(t *testing.T) {
	s := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/401":
			w.WriteHeader(http.StatusUnauthorized)
		case "/big":
			fmt.Fprint(w, strings.Repeat("x", 2000))
		case "/announced":
			w.Header().Set("Content-Length", "2000")
		default:
			http.NotFound(w, r)
		}
	})
	auth := strings.Replace(s.URL, "//", "//u:S3CR3T@", 1)
	for url, says := range map[string]string{
		auth + "/404":                   "http://xxxxx@127.0.0.1",
		auth + "/x":                     "404 Not Found",
		auth + "/401":                   "HTTP_AUTH_TOKEN_127.0.0.1",
		auth + "/big":                   "larger",
		auth + "/announced":             "larger",
		"http://u:S3CR3T@127.0.0.1:1/x": "connection refused",
		"http://u:S3CR3T@bad host/":     "URL",
		"http://":                       "URL",
	} {
		w := newWeb(t, t.TempDir())
		w.MaxSize = 1000
		_, _, err := fetchFile(t, w, &graph.HTTP{URL: url})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("%s: error %v, want one with %q", url, err, says)
		}
		nothingBegun(t, w)
	}
}

// nothingBegun wants no temporary file in the store.
func nothingBegun(t *testing.T, w *Client) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(w.Store.Path(), "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestTriesAgain(t *testing.T) {
	n := 0
	s := newWebServer(t, func(w http.ResponseWriter, _ *http.Request) {
		switch n++; n {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "cut") // and the connection ends
		case 3:
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			fmt.Fprint(w, "whole")
		}
	})
	w := newWeb(t, t.TempDir())
	if _, got, err := fetchFile(t, w, &graph.HTTP{URL: s.URL}); err != nil || got != "whole" {
		t.Errorf("got %q, %v", got, err)
	}
	nothingBegun(t, w)
}

func TestGivesUpOnSilence(t *testing.T) {
	s := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "a")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	w := newWeb(t, t.TempDir())
	w.stall = 20 * time.Millisecond
	if _, _, err := fetchFile(t, w, &graph.HTTP{URL: s.URL}); err == nil || !strings.Contains(err.Error(), "did not come for") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	w = newWeb(t, t.TempDir())
	if _, err := w.File(&graph.HTTP{URL: s.URL}).Tree(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	nothingBegun(t, w)
}

func TestFileTreeHasOneFile(t *testing.T) {
	s := newWebServer(t, serveText("x"))
	ctx := context.Background()
	tree, err := newWeb(t, t.TempDir()).File(&graph.HTTP{URL: s.URL + "/f"}).Tree(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := tree.Lookup(ctx, "."); err != nil || e.Mode != 0o755 {
		t.Errorf("root %+v, %v", e, err)
	}
	if _, err := tree.Lookup(ctx, "g"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := tree.ReadDir(ctx, "f"); err == nil {
		t.Error("a file has entries")
	}
}
