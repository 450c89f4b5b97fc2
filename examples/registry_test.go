//go:build unix

package examples

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// small is what manifests, configs and questions may come to; layers are far larger.
const small = 64 << 10

// An image goes to a real registry and comes back, and no byte goes twice.
func TestRegistry(t *testing.T) {
	maker := newPlace(t).withBusybox()
	registry := startRegistry(t)
	base, app := registry+"/team/base", registry+"/team/app"

	_, log := maker.run("build", "-t", base, "--push", files(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY large /\n", "large": noise(4 << 20),
	}))
	if _, sent := traffic(t, log); sent < 4<<20 {
		t.Errorf("the first push sends %d bytes, which is not all of it", sent)
	}
	maker.run("pull", base)
	_, log = maker.run("push", base)
	if _, sent := traffic(t, log); sent > small {
		t.Errorf("pushing again sends %d bytes", sent)
	}
	largest := int64(0)
	for _, l := range maker.inspect(base).Layers {
		largest = max(largest, l.Size)
	}

	tests := []struct {
		name, copy string
		file       string
		atMost     int64 // bytes received
	}{
		{"a linked layer needs nothing of the base", "COPY --link", "linked", small},
		{"at first contact the base is read once", "COPY", "first", largest + 4<<20},
		{"a base that is known is not read again", "COPY", "second", small},
	}
	linked, plain := newPlace(t), newPlace(t)
	for _, test := range tests {
		p := plain
		if test.file == "linked" {
			p = linked
		}
		_, log := p.run("build", "-t", app+":"+test.file, "--push", files(t, map[string]string{
			"Dockerfile": "FROM " + base + "\n" + test.copy + " file /" + test.file + "\n", "file": test.name + "\n",
		}))
		received, sent := traffic(t, log)
		if received > test.atMost || sent > small {
			t.Errorf("%s: received %d, sent %d bytes; want at most %d and %d", test.name, received, sent, test.atMost, small)
		}
		if test.file == "first" && received < largest {
			t.Errorf("%s: received %d bytes of a layer of %d: the count is wrong", test.name, received, largest)
		}
		nothingLeft(t, p.store, p.binary)
	}

	for _, test := range tests {
		p := newPlace(t)
		p.run("pull", app+":"+test.file)
		got, _ := p.run("run", app+":"+test.file, "sh", "-c", "cat /"+test.file+"; stat -c %s /large")
		if want := test.name + "\n" + strconv.Itoa(4<<20) + "\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// startRegistry starts Debian's docker-registry for as long as the test runs.
func startRegistry(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("SKIPPED: docker-registry is not installed, so nothing is pushed to a real registry")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil,
		"version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n",
		dir, addr), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not listen on %s", addr)
	return ""
}

// noise is what does not compress.
func noise(size int) string {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return string(data)
}

var trafficLine = regexp.MustCompile(`(?m)received (\d+), sent (\d+) bytes$`)

// traffic reads the last line of a build or a push.
func traffic(t *testing.T, log string) (received, sent int64) {
	t.Helper()
	found := trafficLine.FindStringSubmatch(log)
	if found == nil {
		t.Fatalf("nothing is said of bytes received and sent:\n%s", log)
	}
	received, _ = strconv.ParseInt(found[1], 10, 64)
	sent, _ = strconv.ParseInt(found[2], 10, 64)
	return received, sent
}
