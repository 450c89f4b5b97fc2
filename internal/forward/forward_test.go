package forward

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func echo(_ context.Context, c net.Conn) { _, _ = io.Copy(c, c) }

func TestServesAndLeavesNothing(t *testing.T) {
	in := filepath.Join(t.TempDir(), "agent")
	if err := os.Mkdir(in, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(t.Context(), in, echo)
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range most + 10 { // more than are served at a time
		c, err := net.Dial("unix", s.Path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns[:most] {
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conns[most].SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conns[most], "x")
	if _, err := conns[most].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one too many is served: %v", err)
	}
	conns[0].Close() // makes room
	_ = conns[most].SetReadDeadline(time.Time{})
	if _, err := io.ReadFull(conns[most], make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil { // while connections are open
		t.Error(err)
	}
	if _, err := io.ReadAll(conns[1]); err != nil {
		t.Errorf("not ended in order: %v", err)
	}
	for _, c := range conns {
		c.Close()
	}
	if _, err := os.Lstat(in); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Listen(ctx, t.TempDir(), echo)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", s.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Log(err) // reset or ended, both will do
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestLongDirectory(t *testing.T) {
	in := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(in, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(t.Context(), in, echo)
	if err != nil {
		if _, statErr := os.Stat("/proc/self/fd"); errors.Is(statErr, fs.ErrNotExist) {
			t.Skipf("SKIPPED: no /proc here: %v", err)
		}
		t.Fatal(err)
	}
	if st, err := os.Stat(s.Path); err != nil || st.Mode().Type() != fs.ModeSocket {
		t.Errorf("%v, %v", st, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
