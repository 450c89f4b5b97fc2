package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PushBlob brings a blob into the repository. Bytes are sent only if the
// repository has not got it and cannot take it over from origin (a
// "registry/repository" that has it, or ""); only then open is called.
func (p *Repository) PushBlob(ctx context.Context, desc ocispec.Descriptor, origin string, open func(context.Context) (io.ReadCloser, error)) error {
	c, err := p.registries.conn(ctx, p.home, transport.PushScope, "")
	if err != nil {
		return fmt.Errorf("push to %s: %w", p.full, err)
	}
	u := &upload{repo: p, conn: c, desc: desc, from: p.mountable(origin), open: open}
	if err := p.registries.retry(ctx, p.home, func() error { return u.try(ctx) }); err != nil {
		return fmt.Errorf("push blob %s to %s: %w", desc.Digest, p.full, err)
	}
	return nil
}

// mountable returns the other repository of this registry that origin names.
func (p *Repository) mountable(origin string) string {
	host, path, ok := strings.Cut(origin, "/")
	if !ok || host != p.host || path == p.path {
		return ""
	}
	return path
}

type upload struct {
	repo *Repository
	conn *conn
	desc ocispec.Descriptor
	from string
	open func(context.Context) (io.ReadCloser, error)
}

// try is one whole attempt. Each begins with the question whether the blob is
// there: an answer that was lost may have been a success.
func (u *upload) try(ctx context.Context) error {
	there, err := u.exists(ctx)
	if there || err != nil {
		return err
	}
	var at *place
	if u.from != "" {
		if at, there = u.mount(ctx); there {
			return nil
		}
		u.from = "" // once is enough
	}
	if at == nil {
		if at, err = u.start(ctx, u.conn, nil); err != nil {
			return err
		}
	}
	return u.send(ctx, at)
}

func (u *upload) exists(ctx context.Context) (bool, error) {
	resp, err := u.conn.send(ctx, request{
		method: http.MethodHead, url: u.conn.url("blobs/"+u.desc.Digest.String(), nil),
	}, http.StatusOK)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// place is where the bytes of an upload go.
type place struct {
	conn  *conn
	url   *url.URL
	leave bool // of another origin
}

// mount asks the registry to take the blob over from another repository. That
// it does not, or may not, is no error: the bytes can be sent.
func (u *upload) mount(ctx context.Context) (*place, bool) {
	c, err := u.repo.registries.conn(ctx, u.conn.endpoint, transport.PushScope, u.from)
	if err != nil {
		return nil, false
	}
	at, err := u.start(ctx, c, url.Values{"mount": {u.desc.Digest.String()}, "from": {u.from}})
	return at, err == nil && at == nil
}

// start begins an upload; there is no place if the blob was mounted instead.
func (u *upload) start(ctx context.Context, c *conn, query url.Values) (*place, error) {
	resp, err := c.send(ctx, request{method: http.MethodPost, url: c.url("blobs/uploads/", query)},
		http.StatusAccepted, http.StatusCreated)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusCreated && query != nil {
		return nil, nil
	}
	to, err := location(resp)
	if err != nil {
		return nil, c.explain(err)
	}
	return &place{conn: c, url: to, leave: !sameOrigin(resp.Request.URL, to)}, nil
}

// send uploads all bytes in one request.
func (u *upload) send(ctx context.Context, at *place) error {
	q := at.url.Query()
	q.Set("digest", u.desc.Digest.String())
	to := *at.url
	to.RawQuery = q.Encode()
	resp, err := at.conn.send(ctx, request{
		method: http.MethodPut, url: &to, size: u.desc.Size, leave: at.leave,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		body:   func() (io.ReadCloser, error) { return u.open(ctx) },
	}, http.StatusCreated, http.StatusOK, http.StatusNoContent)
	var e *Error
	if _, ours := errors.AsType[*bodyError](err); !ours && errors.As(err, &e) {
		// The registry lost the upload, not the image.
		e.again = e.Status == http.StatusNotFound || e.Status == http.StatusRequestedRangeNotSatisfiable
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}

// PutManifest stores a manifest or an index under ref, a tag or its digest. All
// it names must be in the repository.
func (p *Repository) PutManifest(ctx context.Context, ref, mediaType string, data []byte) error {
	c, err := p.registries.conn(ctx, p.home, transport.PushScope, "")
	if err != nil {
		return fmt.Errorf("push to %s: %w", p.full, err)
	}
	err = p.registries.retry(ctx, p.home, func() error {
		resp, err := c.send(ctx, request{
			method: http.MethodPut, url: c.url("manifests/"+ref, nil),
			header: http.Header{"Content-Type": {mediaType}},
			body:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
			size:   int64(len(data)),
		}, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err != nil {
			return err
		}
		resp.Body.Close()
		return nil
	})
	if err != nil {
		return fmt.Errorf("push %s %s: %w", p.full, ref, err)
	}
	return nil
}
