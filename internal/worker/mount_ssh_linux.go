package worker

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/forward"
	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// ssh shows a socket that the client has made and serves. What connects to it
// reaches the client's process: no agent, and no key, ever comes here.
func (a *attacher) ssh(_ context.Context, m Mount) (sandbox.Mount, error) {
	// Owner before mode, as everywhere.
	if err := a.s.chown(m.Source, m.UID, m.GID); err != nil {
		return sandbox.Mount{}, err
	}
	if err := unix.Chmod(m.Source, cmp.Or(m.Mode&0o777, 0o600)); err != nil {
		return sandbox.Mount{}, &os.PathError{Op: "chmod", Path: m.Source, Err: err}
	}
	return sandbox.Mount{Type: sandbox.Bind, Source: m.Source, ReadOnly: m.ReadOnly}, nil
}

// sockets makes the sockets of a step, and serves them until they are closed.
// The request that it returns names them.
func (c *Client) sockets(ctx context.Context, r *Request) (*Request, []*forward.Socket, error) {
	var made []*forward.Socket
	for i, m := range r.Mounts {
		if m.Serve == nil {
			continue
		}
		if made == nil {
			own := *r
			own.Mounts = slices.Clone(r.Mounts)
			r = &own
		}
		s, err := c.serveSocket(ctx, m.Serve)
		if err != nil {
			return nil, nil, errors.Join(err, closeSockets(made))
		}
		made = append(made, s)
		r.Mounts[i].Source = s.Path
	}
	return r, made, nil
}

// serveSocket makes a socket in the store, where the worker can change its owner.
func (c *Client) serveSocket(ctx context.Context, serve forward.Serve) (*forward.Socket, error) {
	store, err := c.store()
	if err != nil {
		return nil, err
	}
	dir, err := store.TempDir("agent-*")
	if err != nil {
		return nil, err
	}
	return forward.Listen(ctx, dir, serve)
}

func closeSockets(made []*forward.Socket) error {
	var errs []error
	for _, s := range made {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
