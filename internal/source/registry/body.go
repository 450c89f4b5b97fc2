package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// watchedBody is the body of an answer whose silence is noticed.
type watchedBody struct {
	io.ReadCloser
	watch *wait.Watch
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.Wait("")
	n, err := b.ReadCloser.Read(p)
	b.watch.Pause()
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.watch.Cause(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.watch.Stop()
	return err
}

// bodyError is why the body of a request could not be read. It is not the
// registry's, even if another registry is to blame.
type bodyError struct{ error }

func (e *bodyError) Unwrap() error { return e.error }

// sentBody remembers why the body of a request could not be read: that is not
// the registry's fault, and another try does not help.
type sentBody struct {
	mu     sync.Mutex
	failed error
}

func (s *sentBody) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *sentBody) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil && err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errClosed) {
		s.failed = &bodyError{err}
	}
	return err
}

// attach gives the request its body. It is opened by the gate, each time that
// the request passes: authentication may send it twice.
func (rq *request) attach(req *http.Request, watch *wait.Watch) *sentBody {
	s := &sentBody{}
	if rq.body == nil {
		return s
	}
	req.Body, req.ContentLength = http.NoBody, rq.size
	if rq.size == 0 {
		return s
	}
	open := rq.body
	req.GetBody = func() (io.ReadCloser, error) {
		body, err := open()
		if err != nil {
			return nil, s.fail(err)
		}
		return &outgoing{body: body, sent: s, watch: watch}, nil
	}
	return s
}

var errClosed = errors.New("the body of the request is closed")

// outgoing is the body of one sending.
type outgoing struct {
	body  io.ReadCloser
	sent  *sentBody
	watch *wait.Watch

	mu     sync.Mutex // net/http may close it while it reads
	closed bool
}

// Read implements io.Reader.
func (o *outgoing) Read(p []byte) (int, error) {
	o.watch.Wait("")
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, errClosed
	}
	n, err := o.body.Read(p)
	return n, o.sent.fail(err)
}

// Close implements io.Closer.
func (o *outgoing) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	return o.body.Close()
}

// resource names what a URL of this repository stands for, without what a
// server added to it.
func (c *conn) resource(u *url.URL) string {
	_, name, ok := strings.Cut(u.Path, "/"+c.endpoint.repo.RepositoryStr()+"/")
	if !ok {
		return "a blob"
	}
	return clean(name)
}

// userOf returns the name that credentials are of.
func userOf(ctx context.Context, auth authn.Authenticator) string {
	config, err := authn.Authorization(ctx, auth)
	switch {
	case err != nil || config == nil:
		return ""
	case config.Username != "":
		return config.Username
	case config.IdentityToken != "" || config.RegistryToken != "":
		return "the owner of a token"
	}
	return ""
}
