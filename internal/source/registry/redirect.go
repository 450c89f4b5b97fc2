package registry

import (
	"errors"
	"fmt"
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
		ResponseHeaderTimeout:  2 * time.Minute, // beyond any limit of package registry
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// ProxyError is a request that failed at a proxy.
type ProxyError struct {
	Proxy string // its host
	Err   error
}

// Error implements error.
func (e *ProxyError) Error() string { return "proxy " + e.Proxy + ": " + brief(e.Err) }

// Unwrap implements errors.Unwrap.
func (e *ProxyError) Unwrap() error { return e.Err }

// ProxyFault names the proxy of the environment in an error that is its fault,
// and returns any other as it is.
func ProxyFault(req *http.Request, err error) error {
	if err == nil {
		return nil
	}
	proxy, perr := http.ProxyFromEnvironment(req)
	if perr != nil || proxy == nil {
		return err
	}
	return proxyFault(req, proxy, err)
}

func proxyFault(req *http.Request, proxy *url.URL, err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && (op.Op == "proxyconnect" || op.Op == "dial"):
		return &ProxyError{Proxy: proxy.Host, Err: op.Err}
	case req.URL.Scheme == "https" && isStatusText(err.Error()): // all that net/http says of the answer to CONNECT
		return &ProxyError{Proxy: proxy.Host, Err: fmt.Errorf("it answers %w", err)}
	}
	return err
}

func isStatusText(text string) bool {
	for code := 400; code < 600; code++ {
		if text == http.StatusText(code) && text != "" {
			return true
		}
	}
	return false
}

// CheckRedirect says whether a server at from may send us on to to, and
// whether to may then see credentials that were meant for from.
func CheckRedirect(from, to *url.URL) (credentials bool, err error) {
	return sameOrigin(from, to), checkLeave(from, to)
}
