package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// told returns a context whose notices are collected.
func told(t *testing.T) (context.Context, func() string) {
	var (
		mu   sync.Mutex
		list []string
	)
	ctx := wait.With(t.Context(), func(s string) {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, s)
	})
	return ctx, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(list, "\n")
	}
}

func TestE1ARegistryThatComesUpLate(t *testing.T) {
	h := newHub(t, nil)
	data, desc := blobOf(1000)
	host := h.host
	h.Close()
	time.AfterFunc(100*time.Millisecond, func() {
		l, err := net.Listen("tcp", host)
		if err != nil {
			return // the test says what is missing
		}
		late := &httptest.Server{Listener: l, Config: &http.Server{Handler: h.Config.Handler}}
		late.Start()
		t.Cleanup(late.Close)
	})
	r := quick()
	r.RetryDelay, r.Retries = 40*time.Millisecond, 20
	ctx, said := told(t)
	if err := repo(t, r, host+"/a").PushBlob(ctx, desc, "", opener(data)); err != nil {
		t.Fatal(err)
	}
	if want := "registry " + host + ": connection refused; next try in "; !strings.Contains(said(), want) {
		t.Errorf("said %q, want %q", said(), want)
	}
}

func TestE1NoRetryWhenNoneIsWanted(t *testing.T) {
	r := quick()
	r.Retries = -1
	ctx, said := told(t)
	_, _, err := repo(t, r, "127.0.0.1:1/a").Manifest(ctx, "v1")
	wantError(t, err, "connection refused")
	if said() != "" || strings.Contains(err.Error(), "given up") {
		t.Errorf("said %q, %v", said(), err)
	}
}

func TestE1UnknownHostsAreRetried(t *testing.T) {
	if _, again := temporary(&Error{Err: &transportError{&net.DNSError{IsNotFound: true}}}); !again {
		t.Error("a name that is not found is final")
	}
}

func TestE2AStalledManifestIsNamed(t *testing.T) {
	h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if ignorePing(r) {
			return false
		}
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	r := quick()
	r.stall, r.Retries = 30*time.Millisecond, 1
	_, _, err := repo(t, r, h.host+"/a").Manifest(t.Context(), "v1")
	wantError(t, err, "registry "+h.host, "more of manifests/v1 from "+h.host+" did not come for", "given up after 2 tries")
}

func TestE2AStalledAnswerIsNamed(t *testing.T) {
	h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if ignorePing(r) {
			return false
		}
		<-r.Context().Done()
		return true
	})
	r := quick()
	r.stall, r.Retries = 30*time.Millisecond, 1
	_, _, err := repo(t, r, h.host+"/a").Manifest(t.Context(), "v1")
	wantError(t, err, "the answer of "+h.host+" to GET manifests/v1 did not come for")
}

func TestE2AStalledBlobIsNamed(t *testing.T) {
	data, desc := blobOf(1000)
	h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if ignorePing(r) {
			return false
		}
		w.Header().Set("Content-Length", "1000")
		if r.Header.Get("Range") == "" {
			w.Write(data[:10])
		} else {
			w.Header().Set("Content-Range", "bytes 10-999/1000")
			w.Header().Set("Content-Length", "990")
			w.WriteHeader(http.StatusPartialContent)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	r := quick()
	r.stall, r.Retries = 30*time.Millisecond, 1
	rd, err := repo(t, r, h.host+"/a").Fetch(t.Context(), desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(rd)
	wantError(t, err, h.host, "at byte 10 of 1000", "did not come for")
	if errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "context canceled") {
		t.Errorf("got %v", err)
	}
}

func TestE3ABlobIsSentAgainWithANewToken(t *testing.T) {
	data, desc := blobOf(300_000)
	var (
		h      *hub
		tokens int
		puts   int
	)
	h = newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			tokens++
			io.WriteString(w, `{"token":"t`+string(rune('0'+tokens))+`"}`)
			return true
		}
		expired := false
		if r.Method == http.MethodPut {
			if puts++; puts == 1 {
				body, _ := io.ReadAll(r.Body) // all of it, and then the token is too old
				expired = len(body) > 0
			}
		}
		if expired || r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+h.host+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	r := quick()
	r.Keychain = authn.NewMultiKeychain()
	if err := repo(t, r, h.host+"/a").PushBlob(t.Context(), desc, "", opener(data)); err != nil {
		t.Fatal(err)
	}
	if puts != 2 || tokens != 2 {
		t.Errorf("%d PUTs with %d tokens, want 2 with 2", puts, tokens)
	}
	rd, err := repo(t, quick(), h.host+"/a").Fetch(t.Context(), desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if got, err := io.ReadAll(rd); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestE3WhatCannotBeReadIsNotRetried(t *testing.T) {
	_, desc := blobOf(1000)
	h := newHub(t, nil)
	opened := 0
	broken := errors.New("blob is damaged")
	err := repo(t, quick(), h.host+"/a").PushBlob(t.Context(), desc, "", func(context.Context) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(io.MultiReader(strings.NewReader("x"), errReader{broken})), nil
	})
	if !errors.Is(err, broken) || opened != 1 {
		t.Errorf("opened %d times, %v", opened, err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestE4AnHTTPRegistryThatResetsIsNamed(t *testing.T) {
	for _, tt := range []struct {
		resets int
		word   string // of the error
	}{{2, ""}, {1000, "connection reset by peer"}} {
		n := 0
		h := newHub(t, nil)
		h.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if n++; n > tt.resets {
				return manifests([]byte("{}"))(w, r)
			}
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return true
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			return true
		}
		_, _, err := repo(t, quick(), h.host+"/a").Manifest(t.Context(), "v1")
		if tt.word == "" {
			if err != nil {
				t.Errorf("after %d resets: %v", tt.resets, err)
			}
			continue
		}
		wantError(t, err, tt.word)
		if strings.Contains(err.Error(), "TLS") {
			t.Errorf("got %v", err)
		}
	}
}

func TestD2ADeadProxyIsNamed(t *testing.T) {
	req := &http.Request{URL: &url.URL{Scheme: "https", Host: "reg.example"}}
	dead := &net.OpError{Op: "proxyconnect", Err: errors.New("connection refused")}
	for _, err := range []error{dead, errors.New("Bad Gateway"), errors.New("Proxy Authentication Required")} {
		proxy := &url.URL{Host: "proxy.example:3128"}
		got := proxyFault(req, proxy, err)
		wantError(t, got, "proxy proxy.example:3128: ")
	}
	other := errors.New("something else")
	if got := proxyFault(req, &url.URL{Host: "p"}, other); got != other { //nolint:errorlint // the very one
		t.Errorf("got %v", got)
	}
}
