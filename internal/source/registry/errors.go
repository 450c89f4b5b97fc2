package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrNotFound and ErrUnauthorized say why a registry did not answer.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("unauthorized")
)

// Error is what went wrong with a registry, in one line.
type Error struct {
	Host   string // the registry, as the user knows it
	Status int    // of the answer; 0 if there was none
	Err    error

	mirror     bool   // it is a mirror
	user       string // whose credentials were shown
	withheld   string // token server that was not shown the credentials
	retryAfter time.Duration
	again      bool // it passes when the whole exchange starts anew
}

// Error implements error.
func (e *Error) Error() string {
	who := "registry " + e.Host
	if e.mirror {
		who = "mirror " + e.Host
	}
	switch {
	case e.Status == http.StatusNotFound:
		return "not found in " + who
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		msg := who + " refuses access"
		if e.Err != nil {
			msg += ": " + e.Err.Error()
		}
		if e.withheld != "" {
			return msg + " (credentials were withheld from its token server " + e.withheld + " in another domain)"
		}
		if e.user != "" {
			return fmt.Sprintf("%s (the credentials are those of %q in ~/.docker/config.json)", msg, clean(e.user))
		}
		return msg + " (no credentials were found; ocibuild reads credentials from ~/.docker/config.json)"
	case e.Status != 0:
		msg := fmt.Sprintf("%s answers %d %s", who, e.Status, http.StatusText(e.Status))
		if e.Err != nil {
			msg += ": " + e.Err.Error()
		}
		return strings.TrimSpace(msg)
	}
	return who + ": " + brief(e.Err)
}

// Unwrap implements errors.Unwrap.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error be ErrNotFound or ErrUnauthorized.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
	}
	return false
}

// brief drops what net/http puts around the cause of the commonest failures.
func brief(err error) string {
	var (
		dns   *net.DNSError
		proxy *ProxyError
	)
	switch {
	case errors.As(err, &proxy):
		return proxy.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	}
	var u *url.Error
	if errors.As(err, &u) && !u.Timeout() {
		return brief(u.Err)
	}
	return err.Error()
}

// transportError marks what came from the network, and may pass.
type transportError struct{ error }

func (e *transportError) Unwrap() error { return e.error }

// statusError reads the registry's own words from an answer that is no success.
func statusError(host string, resp *http.Response) *Error {
	e := &Error{Host: host, Status: resp.StatusCode, retryAfter: retryAfter(resp.Header)}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // words are a courtesy
	var body struct {
		Errors []transport.Diagnostic `json:"errors"`
	}
	if json.Unmarshal(data, &body) == nil && len(body.Errors) > 0 {
		e.Err = words(body.Errors[0])
	}
	return e
}

func words(d transport.Diagnostic) error {
	msg := d.Message
	if msg == "" {
		msg = string(d.Code)
	}
	if msg = clean(msg); msg == "" {
		return nil
	}
	return errors.New(msg)
}

// clean keeps a server's words on one line and away from the terminal's controls.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	return strings.TrimSpace(s)
}

func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil {
		return max(time.Duration(min(s, 1<<20))*time.Second, 0)
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}

// explain turns an error of a request into an Error of this registry.
func (c *conn) explain(err error) error {
	if _, ours := errors.AsType[*bodyError](err); err == nil || ours {
		return err
	}
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Host: c.endpoint.host, Err: err}
		err = e
	}
	var (
		answer *transport.Error // of the ping or of the token server
		cert   *tls.CertificateVerificationError
	)
	if e.Status == 0 && errors.As(e.Err, &cert) {
		e.Err = cert // says more than the answer to the same over http
	}
	if e.Status == 0 && errors.As(e.Err, &answer) {
		e.Status, e.Err = answer.StatusCode, nil
		if len(answer.Errors) > 0 {
			e.Err = words(answer.Errors[0])
		}
		if e.Status == http.StatusNotFound { // not of an image: there is no /v2/
			e.Status, e.Err = 0, errors.New("it does not speak the registry protocol (404 at /v2/)")
		}
	}
	e.user, e.mirror = c.user, c.endpoint.mirror
	if host := c.guard.withheld.Load(); host != nil {
		e.withheld = *host
	}
	return err
}

// temporary tells whether a request may succeed when repeated, and how long
// the server wants us to wait.
func temporary(err error) (time.Duration, bool) {
	if _, ours := errors.AsType[*bodyError](err); ours {
		return 0, false
	}
	var e *Error
	if errors.As(err, &e) && e.again {
		return e.retryAfter, true
	}
	if e != nil && e.Status != 0 {
		switch e.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return e.retryAfter, true
		}
		return 0, false
	}
	var te *transportError
	return 0, errors.As(err, &te) && !lasting(err)
}

// lasting tells whether a network error will be the same next time.
func lasting(err error) bool {
	var (
		refused refusedError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
	)
	return errors.As(err, &refused) || errors.As(err, &cert) || errors.As(err, &record) ||
		errors.Is(err, context.Canceled)
}
