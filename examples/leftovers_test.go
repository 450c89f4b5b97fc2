//go:build unix

package examples

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leftovers lists what a build or a run has left: files in the store's tmp, mounts of the store in any process's
// namespace, and processes of the binary. A command of a RUN is seen by its root, which is a mount of the store.
func leftovers(store, binary string) ([]string, error) {
	var left []string
	err := filepath.WalkDir(filepath.Join(store, "tmp"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != filepath.Join(store, "tmp") {
			left = append(left, "file "+path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, p := range processes { // any of them may end meanwhile
		if mounts, _ := os.ReadFile(p + "/mountinfo"); bytes.Contains(mounts, []byte(store+"/")) {
			cmdline, _ := os.ReadFile(p + "/cmdline")
			left = append(left, fmt.Sprintf("mount of the store, in %s (%q)", p, cmdline))
		}
		if exe, _ := os.Readlink(p + "/exe"); strings.TrimSuffix(exe, " (deleted)") == binary {
			left = append(left, "process "+p)
		}
	}
	return left, nil
}

func nothingLeft(t *testing.T, store, binary string) {
	t.Helper()
	left, err := leftovers(store, binary)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// What is there during a run is seen, or else nothingLeft would prove nothing.
func TestLeftoversAreSeen(t *testing.T) {
	p := newPlace(t).withBusybox()
	nothingLeft(t, p.store, p.binary)
	cmd := p.command("run", "busybox", "sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 1000 & wait")
	ready := make(lines, 8)
	cmd.Stdout = ready
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Error("it does not start")
	}
	left, err := leftovers(p.store, p.binary)
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"file ", "mount of the store", "sh\\x00-c", "process "} {
		if !strings.Contains(strings.Join(left, "\n"), want) {
			t.Errorf("no %q is seen in %q", want, left)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%v, want exit code 7", cmd.ProcessState)
	}
	nothingLeft(t, p.store, p.binary)
}

// lines are pieces of output as they come.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}
