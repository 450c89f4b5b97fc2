package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A worker whose socket is closed already is still given the time to put things away.
func TestCloseWaits(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "worker")
	c, err := newConn(os.NewFile(uintptr(fds[0]), "worker"))
	if err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(t.TempDir(), "put away")
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command("sh", "-c", `read x <&3; exec 3<&-; sleep 0.3; : > "$1"`, "sh", away)
	p.cmd.ExtraFiles = []*os.File{theirs}
	started := make(chan error)
	go p.keep(started)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	client := newClient(Options{}, c, p)
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(away); err != nil {
		t.Errorf("it was killed: %v", err)
	}
}
