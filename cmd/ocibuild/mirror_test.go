package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// wrongMirror serves what $REGISTRY has, but of each blob one bit is wrong; $MIRROR
// is where: wrong-mirror
func wrongMirror(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: wrong-mirror")
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: ts.Getenv("REGISTRY")})
	proxy.ModifyResponse = func(r *http.Response) error {
		if !strings.Contains(r.Request.URL.Path, "/blobs/") {
			return nil
		}
		data, err := io.ReadAll(r.Body)
		if len(data) > 0 {
			data[len(data)/2] ^= 1
		}
		r.Body = io.NopCloser(bytes.NewReader(data))
		r.Header.Set("Content-Length", strconv.Itoa(len(data)))
		return err
	}
	s := httptest.NewServer(proxy)
	ts.Defer(s.Close)
	ts.Setenv("MIRROR", s.Listener.Addr().String())
}
