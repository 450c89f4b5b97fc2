package registry

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/publicsuffix"
)

// gate is what every request passes last. It alone decides which hosts may be
// reached in the clear or unverified, so no redirect, token server or upload
// location that a registry names can decide it.
type gate struct {
	registries           *Registries
	verified, unverified *http.Transport
	agent                string
}

func newGate(r *Registries) *gate {
	verified := NewTransport(r.Counter)
	unverified := verified.Clone()
	unverified.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return &gate{registries: r, verified: verified, unverified: unverified, agent: cmp.Or(r.UserAgent, "ocibuild")}
}

// RoundTrip implements http.RoundTripper.
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	switch {
	case req.URL.Scheme == "http" && !g.registries.clearAllowed(host):
		return nil, refuse(req, "plain http to %s, which is not among the insecure registries", host)
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return nil, refuse(req, "URL scheme %q", req.URL.Scheme)
	}
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", g.agent)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		req.Body = body
	}
	transport := g.verified
	if g.registries.Insecure[host] {
		transport = g.unverified
	}
	resp, err := transport.RoundTrip(req)
	return resp, ProxyFault(req, err)
}

// refusedError is a request that was not sent, whatever the server wished.
type refusedError string

func (e refusedError) Error() string { return "refused: " + string(e) }

func refuse(req *http.Request, format string, args ...any) error {
	if req.Body != nil {
		req.Body.Close()
	}
	return refusedError(fmt.Sprintf(format, args...))
}

// credentialGuard sits between authentication and the gate. A registry names
// the server that turns credentials into tokens; this keeps them from a server
// that has nothing to do with the registry.
type credentialGuard struct {
	home     string // the registry's host
	trusted  map[string]bool
	inner    http.RoundTripper
	withheld atomic.Pointer[string] // a host that was not shown the credentials

	mu    sync.Mutex
	pings map[string]error // how the first request failed, by scheme
}

// RoundTrip implements http.RoundTripper.
func (c *credentialGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	if req.URL.Path == "/v2/" {
		return c.ping(req)
	}
	if host == c.home || c.trusted[host] || related(hostname(c.home), hostname(host)) {
		return c.inner.RoundTrip(req)
	}
	if req.Method == http.MethodPost {
		return nil, refuse(req, "credentials of %s for the token server %s of another domain", c.home, host)
	}
	if req.Header.Get("Authorization") != "" {
		c.withheld.Store(&host)
		req = req.Clone(req.Context())
		req.Header.Del("Authorization") // an anonymous token may still do
	}
	return c.inner.RoundTrip(req)
}

// maxPing is the most bytes of an answer to the question whether a registry is
// there. Nobody needs any, but all are read, to keep the connection.
const maxPing = 64 << 10

func (c *credentialGuard) ping(req *http.Request) (*http.Response, error) {
	resp, err := c.inner.RoundTrip(req)
	c.mu.Lock()
	if c.pings == nil {
		c.pings = map[string]error{}
	}
	c.pings[req.URL.Scheme] = err
	c.mu.Unlock()
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxPing), resp.Body}
	}
	return resp, err
}

// cause returns what is wrong with a registry that may be spoken to in the
// clear: where it does not speak TLS, what became of plain http.
func (c *credentialGuard) cause(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var noTLS tls.RecordHeaderError
	if clear := c.pings["http"]; clear != nil && errors.As(c.pings["https"], &noTLS) {
		return clear
	}
	return err
}

// related tells whether two hosts belong to one owner: the same name, or names
// in one registrable domain.
func related(a, b string) bool {
	if a == b {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	da, errA := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(a))
	db, errB := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(b))
	return errA == nil && errB == nil && da == db
}

// sameOrigin tells whether a credential for a may be shown to b.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// checkLeave says whether a server at from may send us on to to.
func checkLeave(from, to *url.URL) error {
	if from.Scheme == "https" && to.Scheme != "https" {
		return refusedError(fmt.Sprintf("%s sends us from https to %s", from.Host, to.Scheme))
	}
	if ip := net.ParseIP(to.Hostname()); ip != nil && to.Hostname() != from.Hostname() && internal(ip) {
		if own := net.ParseIP(from.Hostname()); !loopback(from.Host) && (own == nil || !internal(own)) {
			return refusedError(fmt.Sprintf("%s sends us to the internal address %s", from.Host, to.Host))
		}
	}
	return nil
}

func internal(ip net.IP) bool {
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
}
