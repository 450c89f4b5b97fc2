package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// Fetch returns the blob's bytes from offset on. A connection that is cut, or
// silent for long, is made again from where it was; the reader ends with an
// error if that does not help, or if the registry sends more than desc.Size
// bytes. The digest is for the caller to check, who may Reject the bytes of
// mirrors where the reader has that method: see [download.Reject].
func (p *Repository) Fetch(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("blob %q: %w", clean(desc.Digest.String()), err)
	}
	if offset < 0 || offset > desc.Size {
		return nil, fmt.Errorf("blob %s: offset %d of %d bytes", desc.Digest, offset, desc.Size)
	}
	r := &download{ctx: ctx, repo: p, desc: desc, offset: offset}
	if offset > 0 && offset == desc.Size {
		r.err = io.EOF
		return r, nil
	}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	return r, nil
}

// download reads one blob over as many connections as it takes.
type download struct {
	ctx    context.Context
	repo   *Repository
	desc   ocispec.Descriptor
	offset int64    // of the next byte the caller gets
	skip   int64    // bytes that a server without ranges sends again
	at     endpoint // whose the connection is

	mirrors []endpoint // that bytes came from

	body  io.ReadCloser
	tries *wait.Tries // since the last byte
	cuts  int         // the same
	err   error       // how it ended
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	n, err := d.read(p)
	if err != nil {
		d.err = err
		if !errors.Is(err, io.EOF) {
			d.err = fmt.Errorf("blob %s: %w", d.desc.Digest, err)
		}
		d.drop()
	}
	return n, d.err
}

func (d *download) read(p []byte) (int, error) {
	for {
		if d.body == nil {
			if err := d.open(); err != nil {
				return 0, err
			}
		}
		n, err := d.readBody(p)
		if d.offset+int64(n) > d.desc.Size {
			err := fmt.Errorf("more than the %d bytes announced", d.desc.Size)
			if !d.leave(err) {
				return 0, &Error{Host: d.at.host, Err: err}
			}
			continue
		}
		if d.offset += int64(n); n > 0 {
			d.tries, d.cuts = nil, 0
			d.from(d.at)
		}
		if err == nil {
			if n > 0 {
				return n, nil
			}
			continue
		}
		if d.offset == d.desc.Size { // complete; how the connection ended matters no more
			return n, io.EOF
		}
		if perr := d.cut(err); perr != nil {
			return n, perr
		}
		if n > 0 {
			return n, nil
		}
	}
}

// readBody reads from the connection, at most one byte past the announced size.
func (d *download) readBody(p []byte) (int, error) {
	for d.skip > 0 {
		n, err := io.CopyN(io.Discard, d.body, min(d.skip, 1<<20))
		if d.skip -= n; err != nil {
			return 0, err
		}
	}
	if room := d.desc.Size - d.offset + 1; int64(len(p)) > room {
		p = p[:room]
	}
	return d.body.Read(p)
}

// cut prepares for another connection after one broke.
func (d *download) cut(cause error) error {
	d.drop()
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	if d.tries == nil {
		d.tries = d.repo.registries.policy(d.at.mirror).Begin()
	}
	d.cuts++
	cause = fmt.Errorf("connection cut %d times at byte %d of %d: %w", d.cuts, d.offset, d.desc.Size, cause)
	err := d.tries.Failed(d.ctx, &Error{Host: d.at.host, mirror: d.at.mirror, Err: cause}, 0)
	if err != nil && d.ctx.Err() == nil && d.leave(cause) {
		return nil
	}
	return err
}

// leave goes on with the next where the connection was a mirror's.
func (d *download) leave(why error) bool {
	d.drop()
	if !d.at.mirror {
		return false
	}
	d.repo.reject(d.ctx, d.at, d.desc.Digest, why)
	d.tries, d.cuts = nil, 0
	return true
}

// open connects at the present offset.
func (d *download) open() error {
	return d.repo.eachOf(d.ctx, d.repo.order(d.desc.Digest), func(c *conn) error {
		resp, err := c.send(d.ctx, request{
			method: http.MethodGet, url: c.url("blobs/"+d.desc.Digest.String(), nil), header: rangeOf(d.offset, d.desc.Size),
		}, http.StatusOK, http.StatusPartialContent)
		if err != nil {
			return err
		}
		if err := d.check(resp); err != nil {
			resp.Body.Close()
			return c.explain(err)
		}
		d.body, d.at = resp.Body, c.endpoint
		return nil
	})
}

func rangeOf(offset, size int64) http.Header {
	// Identity: otherwise net/http asks for gzip and undoes it, and what
	// arrives is not what was named.
	h := http.Header{"Accept-Encoding": {"identity"}}
	if offset > 0 {
		// With its end, which not every registry lets out.
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, size-1))
	}
	return h
}

// check compares an answer's own account of itself with what was asked for.
func (d *download) check(resp *http.Response) error {
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return fmt.Errorf("blob comes with content encoding %q", clean(enc))
	}
	start := int64(0)
	if resp.StatusCode == http.StatusPartialContent {
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &start); err != nil || start != d.offset {
			return fmt.Errorf("asked for bytes from %d, got range %q", d.offset, clean(resp.Header.Get("Content-Range")))
		}
	}
	if resp.ContentLength >= 0 && start+resp.ContentLength != d.desc.Size {
		return fmt.Errorf("blob has %d bytes, the manifest says %d", start+resp.ContentLength, d.desc.Size)
	}
	d.skip = d.offset - start
	return nil
}

func (d *download) drop() {
	if d.body != nil {
		d.body.Close()
		d.body = nil
	}
}

var errDownloadClosed = errors.New("download is closed")

// Close implements io.Closer.
func (d *download) Close() error {
	d.drop()
	if d.err == nil {
		d.err = errDownloadClosed
	}
	return nil
}
