//go:build linux

package threats

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// sink is a server that has no business with anybody: it remembers who came,
// and with what.
type sink struct {
	t         *testing.T
	host, url string
	answer    http.HandlerFunc // nil: not found

	mu    sync.Mutex
	asked []string // each request as it came, headers and all
}

// newSink listens on another address of this machine: to a client that is
// another host.
func newSink(t *testing.T) *sink {
	t.Helper()
	return newSinkAt(t, "127.0.0.2:0")
}

func newSinkAt(t *testing.T, address string) *sink {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("SKIPPED: needs a second address of this machine: %v", err)
	}
	s := &sink{t: t}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // what did not come is not needed
		var text strings.Builder
		text.WriteString(r.Method + " " + r.URL.String() + "\n")
		_ = r.Header.Write(&text) // to memory
		text.Write(body)
		s.mu.Lock()
		s.asked = append(s.asked, text.String())
		s.mu.Unlock()
		if s.answer == nil {
			http.NotFound(w, r)
			return
		}
		s.answer(w, r)
	}))
	server.Listener.Close()
	server.Listener = l
	server.Config.ErrorLog = quiet
	server.Start()
	t.Cleanup(server.Close)
	s.url, s.host = server.URL, strings.TrimPrefix(server.URL, "http://")
	return s
}

// silent wants that nobody came.
func (s *sink) silent() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		s.t.Errorf("it was asked: %s", r)
	}
}

// learnt wants that somebody came, and that nobody brought a credential.
func (s *sink) learnt(credentials ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		s.t.Error("it was never asked, so this shows nothing")
	}
	for _, r := range s.asked {
		for _, c := range append(credentials, "Authorization:", "Cookie:") {
			if strings.Contains(r, c) {
				s.t.Errorf("it was shown %q:\n%s", c, r)
			}
		}
	}
}
