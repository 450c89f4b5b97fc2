package lab

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// meter passes connections on to target and counts what goes through.
type meter struct {
	listener       net.Listener
	target         string
	received, sent atomic.Int64 // as the client sees it
	conns          sync.WaitGroup
}

func startMeter(ctx context.Context, target string) (*meter, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	m := &meter{listener: l, target: target}
	m.conns.Go(func() { m.accept(ctx) })
	return m, nil
}

func (m *meter) addr() string { return m.listener.Addr().String() }

func (m *meter) accept(ctx context.Context) {
	for {
		client, err := m.listener.Accept()
		if err != nil {
			return // closed
		}
		m.conns.Go(func() { m.serve(ctx, client) })
	}
}

func (m *meter) serve(ctx context.Context, client net.Conn) {
	defer hangUp(client)
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", m.target)
	if err != nil {
		return // the client sees its connection end
	}
	defer hangUp(server)
	var both sync.WaitGroup
	both.Go(func() { pass(server, client, &m.sent) })
	both.Go(func() { pass(client, server, &m.received) })
	both.Wait()
}

// pass copies until either side ends, and counts at once: connections that
// clients keep open must be counted too.
func pass(dst, src net.Conn, count *atomic.Int64) {
	defer hangUp(dst)
	buf := make([]byte, 128<<10)
	for {
		n, err := src.Read(buf)
		count.Add(int64(n))
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// hangUp closes a connection whose other end may have done so before.
func hangUp(c net.Conn) { _ = c.Close() }

func (m *meter) reset() {
	m.received.Store(0)
	m.sent.Store(0)
}
