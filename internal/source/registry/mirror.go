package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// each calls f for the mirrors and then for the registry until one succeeds.
// The error is the registry's, and tells of mirrors that did not work.
func (p *Repository) each(ctx context.Context, f func(*conn) error) error {
	return p.eachOf(ctx, p.order(""), f)
}

// order returns whom to ask for a blob, the registry itself last: not the mirrors
// that are down, and not those that have the blob wrong. An empty digest is for
// anything else than a blob.
func (p *Repository) order(blob digest.Digest) []endpoint {
	r := p.registries
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []endpoint
	for _, e := range p.mirrors {
		if !r.down[e.host] && !r.rejected[rejection(e, blob)] {
			all = append(all, e)
		}
	}
	return append(all, p.home)
}

func rejection(e endpoint, blob digest.Digest) string { return e.host + " " + blob.String() }

func (p *Repository) eachOf(ctx context.Context, order []endpoint, f func(*conn) error) error {
	var notes []string
	for n, e := range order {
		err := p.at(ctx, e, f)
		if !e.mirror {
			if err != nil && len(notes) > 0 {
				return fmt.Errorf("%w; %s", err, strings.Join(notes, "; "))
			}
			return err
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, ErrNotFound) { // a mirror need not have everything
			notes = append(notes, err.Error())
			p.registries.leave(ctx, err, order[n+1])
		}
		var te *transportError
		if errors.As(err, &te) {
			p.registries.setDown(e)
		}
	}
	return nil // the last one is no mirror
}

func (p *Repository) at(ctx context.Context, e endpoint, f func(*conn) error) error {
	c, err := p.registries.conn(ctx, e, transport.PullScope, "")
	if err != nil {
		return err
	}
	return p.registries.retry(ctx, e, func() error { return f(c) })
}

// setDown spares later requests the wait for a mirror that is not there.
func (r *Registries) setDown(e endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down == nil {
		r.down = map[string]bool{}
	}
	r.down[e.host] = true
}

// leave says, once, why a mirror is left for the next.
func (r *Registries) leave(ctx context.Context, why error, next endpoint) {
	text := fmt.Sprintf("%v; continuing with %s", why, next.host)
	r.mu.Lock()
	was := r.said[text]
	if r.said == nil {
		r.said = map[string]bool{}
	}
	r.said[text] = true
	r.mu.Unlock()
	if !was {
		wait.Say(ctx, "%s", text)
	}
}

// reject keeps a mirror from being asked for this blob again, and says why.
func (p *Repository) reject(ctx context.Context, e endpoint, blob digest.Digest, why error) {
	r := p.registries
	r.mu.Lock()
	if r.rejected == nil {
		r.rejected = map[string]bool{}
	}
	key := rejection(e, blob)
	was := r.rejected[key]
	r.rejected[key] = true
	r.mu.Unlock()
	if !was {
		r.leave(ctx, &Error{Host: e.host, mirror: true, Err: why}, p.order(blob)[0])
	}
}

// Reject says why what was read, all of it or a part, cannot be the blob. The
// mirrors that it came from are not asked for the blob again. It reports whether
// another Fetch may do better.
func (d *download) Reject(why error) bool {
	failed := d.err != nil && !errors.Is(d.err, io.EOF) && !errors.Is(d.err, errDownloadClosed)
	if failed || d.ctx.Err() != nil {
		return false // nothing is known of the bytes
	}
	for _, e := range d.mirrors {
		d.repo.reject(d.ctx, e, d.desc.Digest, why)
	}
	return len(d.mirrors) > 0
}

// from notes whose bytes were read.
func (d *download) from(e endpoint) {
	if e.mirror && !slices.ContainsFunc(d.mirrors, func(have endpoint) bool { return have.host == e.host }) {
		d.mirrors = append(d.mirrors, e)
	}
}
