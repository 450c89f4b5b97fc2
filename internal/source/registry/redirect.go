package registry

import (
	"net"
	"net/http"
	"net/url"
	"time"
)

// NewTransport returns a transport with our time limits, through the proxy of
// the environment. c counts its bytes; nil counts nothing.
func NewTransport(c *Counter) *http.Transport {
	dialer := &net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            c.counting(dialer.DialContext),
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    20 * time.Second,
		ResponseHeaderTimeout:  2 * time.Minute, // storing a large blob takes a registry a while
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// CheckRedirect says whether a server at from may send us on to to, and
// whether to may then see credentials that were meant for from.
func CheckRedirect(from, to *url.URL) (credentials bool, err error) {
	return sameOrigin(from, to), checkLeave(from, to)
}
