// Package forward serves connections to a unix socket for as long as somebody
// needs them: the agent that a step or git speaks to.
package forward

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// most is how many connections to one socket are served at a time. The others
// wait: a step cannot use up the files of the program that serves it.
const most = 64

// Serve speaks with the other end of a connection. It returns when the other end
// is done, or the connection was closed.
type Serve func(ctx context.Context, c net.Conn)

// Socket is a socket in a directory of its own.
type Socket struct {
	// Path is absolute, and may be longer than what can be connected to: then it
	// is of use only where it is mounted.
	Path string

	dir      string
	listener *net.UnixListener
	serve    Serve
	stop     context.CancelFunc
	work     sync.WaitGroup
	slots    chan struct{}
}

// Listen makes a socket in a directory of its own, which nobody else may enter,
// and serves it until Close. The directory goes with it, and with an error.
func Listen(ctx context.Context, dir string, serve Serve) (*Socket, error) {
	s := &Socket{dir: dir, Path: filepath.Join(dir, "socket"), serve: serve, slots: make(chan struct{}, most)}
	var err error
	if s.listener, err = listen(dir, s.Path); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, s.stop = context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { _ = s.listener.Close() }) // what Accept then says is not of interest
	s.work.Go(func() { s.accept(ctx) })
	return s, nil
}

func (s *Socket) accept(ctx context.Context) {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := s.listener.Accept()
		if err != nil {
			return // closed: it has no other error that would pass
		}
		s.work.Go(func() {
			defer func() { <-s.slots }()
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			s.serve(ctx, c)
		})
	}
}

// Close ends all connections and removes the socket with its directory.
func (s *Socket) Close() error {
	s.stop()
	_ = s.listener.Close() // twice, perhaps
	s.work.Wait()
	return os.RemoveAll(s.dir)
}

// bind listens on a path that is short enough for a socket's name.
func bind(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it goes with its directory
	return l, nil
}
