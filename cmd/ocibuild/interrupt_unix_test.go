//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openForever has a FIFO without a writer in each place that ocibuild opens or reads.
var openForever = map[string][]string{
	"Dockerfile":          {"build", "-f", "FIFO", "."},
	"Dockerfile of stdin": {"build", "-f", "-", "."},
	"context of stdin":    {"build", "-"},
	"secret":              {"build", "--secret", "id=a,src=FIFO", "."},
	"output":              {"build", "-o", "type=oci,dest=FIFO", "."},
	"output of files":     {"build", "-o", "type=tar,dest=FIFO", "."},
	"iidfile":             {"build", "--iidfile", "FIFO", "."},
	"load":                {"load", "-i", "FIFO"},
	"load of stdin":       {"load"},
}

// TestE5TheFirstSignalEnds wants what the first signal does within two seconds,
// whatever is opened or read.
func TestE5TheFirstSignalEnds(t *testing.T) {
	for name, args := range openForever {
		for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			t.Run(name+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				endsWith(t, sig, args)
			})
		}
	}
}

func endsWith(t *testing.T, sig os.Signal, args []string) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{}, args...)
	for i, a := range args {
		if a == "FIFO" {
			args[i] = fifo
		} else if before, ok := strings.CutSuffix(a, "FIFO"); ok {
			args[i] = before + fifo
		}
	}
	stdin, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer stdin.Close()
	cmd := exec.Command(self(t))
	cmd.Args = append([]string{"ocibuild"}, args...)
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, stdin, os.Stderr
	cmd.Env = append(os.Environ(), "HOME="+dir, "DOCKER_CONFIG=", "OCIBUILD_STORE="+filepath.Join(dir, "store"), asOcibuild+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it ended before the signal: %v", err)
	case <-time.After(2 * time.Second): // it is at the FIFO by now
	}
	began := time.Now()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("%v does not end it", sig)
	}
	if took := time.Since(began); took > 2500*time.Millisecond { // half a second for a busy machine
		t.Errorf("it took %s", took)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}

const asOcibuild = "OCIBUILD_TEST_MAIN"

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestE5AFIFOIsAnError wants a clear error where a FIFO can only be a mistake. (COPY copies one, as
// BuildKit does.)
func TestE5AFIFOIsAnError(t *testing.T) {
	for name, wants := range map[string]string{
		".dockerignore": ".dockerignore: not a regular file",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY f /\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self(t), "build", dir)
		cmd.Env = append(os.Environ(), "OCIBUILD_STORE="+filepath.Join(dir, "store"), asOcibuild+"=1")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), wants) {
			t.Errorf("%s: %v, want an error with %q\n%s", name, err, wants, out)
		}
	}
}

// TestE5ADockerfileFromAFIFO is what -f <(…) of a shell is.
func TestE5ADockerfileFromAFIFO(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self(t), "build", "-f", fifo, dir)
	cmd.Env = append(os.Environ(), "OCIBUILD_STORE="+filepath.Join(dir, "store"), asOcibuild+"=1")
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(fifo, []byte("FROM scratch\nLABEL a=b\n"), 0o600) }()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A pipe in place of the credentials is refused: it would be read once for each
// registry.
func TestA3CredentialsThatAreAPipe(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "config.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"DOCKER_CONFIG=" + dir, "REGISTRY_AUTH_FILE=" + pipe} {
		cmd := exec.Command(os.Args[0], "pull", "127.0.0.1:1/a")
		cmd.Env = append(os.Environ(), "OCIBUILD_TEST_MAIN=1", "OCIBUILD_STORE="+filepath.Join(dir, "store"), "DOCKER_CONFIG=/nowhere", env)
		timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		out, err := cmd.CombinedOutput()
		if !timer.Stop() || err == nil || !strings.Contains(string(out), pipe+": not a regular file") {
			t.Errorf("%s: %v\n%s", env, err, out)
		}
	}
}
