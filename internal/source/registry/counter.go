package registry

import (
	"context"
	"net"
	"sync/atomic"
)

// Counter counts the bytes that went over the network, encryption and headers
// included. It is safe for concurrent use.
type Counter struct {
	received, sent atomic.Int64
}

// Received returns the bytes that came in.
func (c *Counter) Received() int64 { return c.received.Load() }

// Sent returns the bytes that went out.
func (c *Counter) Sent() int64 { return c.sent.Load() }

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// counting wraps dial so that c sees every byte; a nil c counts nothing.
func (c *Counter) counting(dial dialFunc) dialFunc {
	if c == nil {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: conn, counter: c}, nil
	}
}

type countedConn struct {
	net.Conn
	counter *Counter
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.counter.received.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.counter.sent.Add(int64(n))
	return n, err
}
