package registry

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/ocibuild/ocibuild/internal/source/wait"
)

const (
	maxRedirects = 10

	answerLimit = 60 * time.Second // until an answer begins
	storeLimit  = 2 * time.Minute  // the same once a blob was sent: storing it takes a registry a while
	stallLimit  = 30 * time.Second // within an answer
)

// conn is the way to one repository with one set of rights.
type conn struct {
	endpoint endpoint

	mu    sync.Mutex // held while connecting
	auth  http.RoundTripper
	plain http.RoundTripper // shows no credential to anybody
	guard *credentialGuard
	user  string // whose credentials are shown; empty: nobody's
	stall time.Duration
}

// request is one exchange with a registry.
type request struct {
	method string
	url    *url.URL
	header http.Header
	body   func() (io.ReadCloser, error) // opened for each sending; nil: no body
	size   int64                         // of body
	leave  bool                          // url is of another origin: without credentials
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
			return nil, c.explain(err)
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

// roundTrip watches over one exchange, until the body of the answer is closed.
func (c *conn) roundTrip(ctx context.Context, rt http.RoundTripper, rq request) (*http.Response, error) {
	limit := cmp.Or(c.stall, answerLimit)
	if rq.body != nil {
		limit = cmp.Or(c.stall, storeLimit)
	}
	resource := c.resource(rq.url)
	ctx, watch := wait.Start(ctx, fmt.Sprintf("the answer of %s to %s %s", rq.url.Host, rq.method, resource), limit)
	req, err := http.NewRequestWithContext(ctx, rq.method, rq.url.String(), nil)
	if err != nil {
		watch.Stop()
		return nil, err
	}
	for k, v := range rq.header {
		req.Header[k] = v
	}
	sent := rq.attach(req, watch)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		err = watch.Cause(err)
		watch.Stop()
		if sent.err() != nil {
			return nil, sent.err()
		}
		return nil, &transportError{err}
	}
	watch.Pause()
	watch.Limit(cmp.Or(c.stall, stallLimit))
	watch.Wait(fmt.Sprintf("more of %s from %s", resource, rq.url.Host))
	watch.Pause()
	resp.Body = &watchedBody{ReadCloser: resp.Body, watch: watch}
	return resp, nil
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
	tries := r.policy(e.mirror).Begin()
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		asked, again := temporary(err)
		if !again {
			return err
		}
		if err := tries.Failed(ctx, err, asked); err != nil {
			return err
		}
	}
}

func (r *Registries) policy(mirror bool) wait.Policy {
	p := wait.Policy{Retries: r.Retries, Delay: r.RetryDelay}
	if mirror && p.Retries >= 0 {
		p.Retries = 1 // another host has the same
	}
	return p
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
