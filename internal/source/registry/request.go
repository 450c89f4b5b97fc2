package registry

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	maxTries     = 5
	maxRedirects = 10
)

// conn is the way to one repository with one set of rights.
type conn struct {
	endpoint endpoint

	mu    sync.Mutex // held while connecting
	auth  http.RoundTripper
	plain http.RoundTripper // shows no credential to anybody
	guard *credentialGuard
}

// request is one exchange with a registry.
type request struct {
	method string
	url    *url.URL
	header http.Header
	body   io.ReadCloser
	size   int64 // of body
	leave  bool  // url is of another origin: without credentials
}

// url returns the address of a resource of the repository.
func (c *conn) url(resource string, query url.Values) *url.URL {
	return &url.URL{
		Scheme:   c.endpoint.repo.Scheme(),
		Host:     c.endpoint.repo.RegistryStr(),
		Path:     "/v2/" + c.endpoint.repo.RepositoryStr() + "/" + resource,
		RawQuery: query.Encode(),
	}
}

// send makes the request, following redirects of a reading one, and returns an
// answer whose status is among ok. The caller closes its body.
func (c *conn) send(ctx context.Context, rq request, ok ...int) (*http.Response, error) {
	rt := c.auth
	if rq.leave {
		rt = c.plain
	}
	for range maxRedirects + 1 {
		resp, err := c.roundTrip(ctx, rt, rq)
		if err != nil {
			return nil, c.explain(&transportError{err})
		}
		if slices.Contains(ok, resp.StatusCode) {
			return resp, nil
		}
		if resp.StatusCode/100 != 3 || rq.method != http.MethodGet && rq.method != http.MethodHead {
			err := statusError(c.endpoint.host, resp)
			resp.Body.Close()
			return nil, c.explain(err)
		}
		from := resp.Request.URL
		next, err := location(resp)
		resp.Body.Close()
		if err != nil {
			return nil, c.explain(err)
		}
		if !sameOrigin(from, next) {
			// Once away, away for good: a chain that leads back here was
			// chosen by somebody else.
			rt = c.plain
		}
		rq.url = next
	}
	return nil, c.explain(fmt.Errorf("more than %d redirects", maxRedirects))
}

func (c *conn) roundTrip(ctx context.Context, rt http.RoundTripper, rq request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, rq.method, rq.url.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range rq.header {
		req.Header[k] = v
	}
	if rq.body != nil {
		req.Body, req.ContentLength = rq.body, rq.size
		if rq.size == 0 {
			rq.body.Close()
			req.Body = http.NoBody
		}
	}
	return rt.RoundTrip(req)
}

// location returns where an answer sends us, if that is acceptable.
func location(resp *http.Response) (*url.URL, error) {
	loc := resp.Header.Get("Location")
	if loc == "" {
		return nil, fmt.Errorf("answer %d without a Location", resp.StatusCode)
	}
	u, err := resp.Request.URL.Parse(loc)
	if err != nil {
		return nil, fmt.Errorf("answer %d with a malformed Location", resp.StatusCode)
	}
	u.User = nil // would become an Authorization header
	return u, checkLeave(resp.Request.URL, u)
}

// retry calls f until it succeeds, fails for good, or has failed often enough.
func (r *Registries) retry(ctx context.Context, e endpoint, f func() error) error {
	tries := maxTries
	if e.mirror {
		tries = 2 // another host has the same
	}
	for try := 0; ; try++ {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		wait, again := temporary(err)
		if !again || try == tries-1 {
			return err
		}
		if cerr := r.pause(ctx, try, wait); cerr != nil {
			return cerr
		}
	}
}

// pause waits before try+1, at least as long as the server asked for.
func (r *Registries) pause(ctx context.Context, try int, atLeast time.Duration) error {
	d := r.backoff
	if d == 0 {
		d = defaultBackoff
	}
	d <<= min(try, 6)
	d = max(d/2+rand.N(d), atLeast)
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readAll reads a small answer.
func readAll(resp *http.Response, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, &transportError{err}
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return data, nil
}
