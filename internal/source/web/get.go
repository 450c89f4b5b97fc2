package web

import (
	"context"
	"crypto/tls"
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

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/registry"
	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// get asks the server for the file, and returns have if it is still the same.
func (w *Client) get(ctx context.Context, op *graph.HTTP, have *fetched) (*fetched, error) {
	tries := w.Retry.Begin()
	tries.Label = hostOf(op)
	for {
		got, err := w.try(ctx, op, have)
		if err == nil {
			return got, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !passing(err) {
			return nil, plain(err)
		}
		asked := retryAfter(err)
		if err := tries.Failed(ctx, plain(err), asked); err != nil {
			return nil, err
		}
	}
}

// statusError is an answer that is no file.
type statusError struct {
	status int
	after  time.Duration
	host   string
}

func (e *statusError) Error() string {
	msg := fmt.Sprintf("the server answers %d %s", e.status, http.StatusText(e.status))
	if e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
		msg += fmt.Sprintf("; a secret HTTP_AUTH_TOKEN_%s or HTTP_AUTH_HEADER_%s would be sent to it", e.host, e.host)
	}
	return strings.TrimSpace(msg)
}

func retryAfter(err error) time.Duration {
	if se, ok := errors.AsType[*statusError](err); ok {
		return se.after
	}
	return 0
}

func (w *Client) try(ctx context.Context, op *graph.HTTP, have *fetched) (*fetched, error) {
	ctx, watch := wait.Start(ctx, "the answer of "+hostOf(op), min(answerLimit, w.stall*2))
	defer watch.Stop()
	req, err := w.request(ctx, op, have)
	if err != nil {
		return nil, err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, watch.Cause(registry.ProxyFault(req, err))
	}
	defer resp.Body.Close()
	if same(resp, have) {
		return have, nil
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 || resp.StatusCode == http.StatusPartialContent {
		e := &statusError{status: resp.StatusCode, host: req.URL.Hostname()}
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			e.after = time.Duration(min(max(s, 0), 1<<20)) * time.Second
		}
		return nil, e
	}
	if resp.ContentLength > w.MaxSize {
		return nil, w.tooLarge()
	}
	watch.Limit(w.stall)
	watch.Wait("more of the file from " + hostOf(op))
	return w.save(watch, resp)
}

// hostOf names the server of a file.
func hostOf(op *graph.HTTP) string {
	u, err := url.Parse(op.URL)
	if err != nil || u.Host == "" {
		return "the server"
	}
	return u.Host
}

// same tells whether the answer is about the file that the store has. Some
// servers send it again, with the tag that was asked about.
func same(resp *http.Response, have *fetched) bool {
	if have == nil {
		return false
	}
	if resp.StatusCode == http.StatusNotModified {
		return true
	}
	return resp.StatusCode == http.StatusOK && have.ETag != "" && strong(resp.Header.Get("ETag")) == strong(have.ETag)
}

func strong(etag string) string { return strings.TrimPrefix(etag, "W/") }

func (w *Client) request(ctx context.Context, op *graph.HTTP, have *fetched) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, op.URL, nil)
	if err != nil || req.URL.Host == "" {
		return nil, errors.New("it is no valid URL") // what the parser says quotes it, with credentials
	}
	req.Header.Set("User-Agent", "ocibuild")
	for _, h := range op.Headers {
		req.Header.Set(h.Name, h.Value)
	}
	switch {
	case have == nil:
	case have.ETag != "":
		req.Header.Set("If-None-Match", have.ETag)
	case have.Validates:
		req.Header.Set("If-Modified-Since", have.LastModified)
	}
	auth, err := w.authorization(op, req.URL.Hostname())
	if err != nil {
		return nil, err
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	return req, nil
}

// authorization returns the header of the secret that op names, or of one that
// belongs to the host.
func (w *Client) authorization(op *graph.HTTP, host string) (string, error) {
	names := []struct{ name, prefix string }{{"HTTP_AUTH_TOKEN_" + host, "Bearer "}, {"HTTP_AUTH_HEADER_" + host, ""}}
	if op.AuthSecret != "" {
		names = names[:1]
		names[0].name, names[0].prefix = op.AuthSecret, ""
	}
	for _, n := range names {
		if w.Secret == nil {
			break
		}
		value, ok, err := w.Secret(n.name)
		if err != nil {
			return "", fmt.Errorf("secret %s: %w", n.name, err)
		}
		v := strings.TrimRight(string(value), "\r\n")
		if strings.ContainsAny(v, "\r\n\x00") {
			return "", fmt.Errorf("secret %s: it has more than one line", n.name)
		}
		if ok {
			return n.prefix + v, nil
		}
	}
	if op.AuthSecret != "" {
		return "", fmt.Errorf("secret %s is required but not given", op.AuthSecret)
	}
	return "", nil
}

// save writes the body to the store.
func (w *Client) save(watch *wait.Watch, resp *http.Response) (*fetched, error) {
	blob, err := w.Store.NewBlob()
	if err != nil {
		return nil, err
	}
	defer blob.Abort()
	body := &awake{r: io.LimitReader(resp.Body, w.MaxSize+1), watch: watch}
	n, err := io.Copy(blob, body)
	if err != nil {
		return nil, watch.Cause(err)
	}
	if n > w.MaxSize {
		return nil, w.tooLarge()
	}
	f := &fetched{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified"), Name: disposition(resp.Header)}
	modified, err1 := http.ParseTime(f.LastModified)
	date, err2 := http.ParseTime(resp.Header.Get("Date"))
	f.Validates = err1 == nil && err2 == nil && date.Sub(modified) > time.Minute
	f.Digest, f.Size, err = blob.Commit()
	return f, err
}

func (w *Client) tooLarge() error { return fmt.Errorf("the file is larger than %d bytes", w.MaxSize) }

// awake is watched while it reads.
type awake struct {
	r     io.Reader
	watch *wait.Watch
}

func (a *awake) Read(p []byte) (int, error) {
	a.watch.Wait("")
	n, err := a.r.Read(p)
	a.watch.Pause()
	return n, err
}

// passing tells whether a failure may be gone at the next try.
func passing(err error) bool {
	if se, ok := errors.AsType[*statusError](err); ok {
		switch se.status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var (
		netErr  net.Error
		dns     *net.DNSError
		stalled *wait.StalledError
	)
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.As(err, &stalled) || errors.As(err, &netErr) && netErr.Timeout()
}

// plain says the cause alone: what net/http puts around it repeats the URL.
func plain(err error) error {
	if proxy, ok := errors.AsType[*registry.ProxyError](err); ok {
		return proxy
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return cert
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return fmt.Errorf("no such host")
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("connection refused")
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return plain(ue.Err)
	}
	return err
}
