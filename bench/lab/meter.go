package lab

import (
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

func startMeter(target string) (*meter, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	m := &meter{listener: l, target: target}
	m.conns.Go(m.accept)
	return m, nil
}

func (m *meter) addr() string { return m.listener.Addr().String() }

func (m *meter) accept() {
	for {
		client, err := m.listener.Accept()
		if err != nil {
			return // closed
		}
		m.conns.Go(func() { m.serve(client) })
	}
}

func (m *meter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", m.target)
	if err != nil {
		return // the client sees its connection end
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { pass(server, client, &m.sent) })
	both.Go(func() { pass(client, server, &m.received) })
	both.Wait()
}

// pass copies until either side ends, and counts at once: connections that
// clients keep open must be counted too.
func pass(dst, src net.Conn, count *atomic.Int64) {
	defer dst.Close()
	buf := make([]byte, 128<<10)
	for {
		n, err := src.Read(buf)
		count.Add(int64(n))
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (m *meter) reset() {
	m.received.Store(0)
	m.sent.Store(0)
}
