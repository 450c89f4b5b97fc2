package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ocibuild is the binary under test; examples are built in its default store, which the caller chooses.
func ocibuild(t *testing.T) string {
	t.Helper()
	if os.Getenv("OCIBUILD_EXAMPLES") == "" {
		t.Skip("needs root, base images and the network: make test sets OCIBUILD_EXAMPLES and runs it")
	}
	binary := os.Getenv("OCIBUILD")
	if binary == "" {
		t.Fatal("OCIBUILD names no binary")
	}
	return binary
}

// machineFlags let a RUN reach package indexes as this machine does.
func machineFlags(t *testing.T, managers []string) []string {
	t.Helper()
	cmd := exec.Command("./machine-flags.sh", append([]string{t.TempDir()}, managers...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("machine-flags.sh: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

type example struct {
	dir      string
	program  string            // where the context needs a binary: its name, made of the folder's own main package
	managers []string          // package managers that the Dockerfile uses
	args     []string          // of the run
	prints   string            // what a program that ends prints
	port     int               // where a service that stays listens; its args may move it
	answers  func(string) bool // whether the answer to GET / is the right one
}

func TestExamples(t *testing.T) {
	tests := []example{
		{dir: "hello-world", program: "hello", prints: "Hello from an image that holds one file!\n"},
		{dir: "busybox-echo", prints: "Hello World\n"},
		{dir: "go-multistage", managers: []string{"apt"}, args: []string{"Ada"}, prints: "Hello Ada from a stage of its own!\n"},
		{dir: "pyserv", port: 8000, answers: func(body string) bool { return body == "Hello from pyserv\n" }},
		{dir: "simple-fastapi", managers: []string{"pip"}, port: 80, answers: func(body string) bool {
			var got map[string]string
			return json.Unmarshal([]byte(body), &got) == nil && len(got) == 1 && got["message"] == "Hello world!"
		}},
	}
	binary := ocibuild(t)
	for _, test := range tests {
		t.Run(test.dir, func(t *testing.T) {
			if test.port != 0 {
				test.port, test.args = freePort(t, test)
			}
			tag := "examples/" + test.dir
			args := append([]string{"build", "-t", tag}, machineFlags(t, test.managers)...)
			output(t, binary, append(args, contextOf(t, test))...)
			run := append([]string{"run", "--rm", tag}, test.args...)
			if test.port == 0 {
				if got := output(t, binary, run...); got != test.prints {
					t.Errorf("got %q, want %q", got, test.prints)
				}
				return
			}
			if body := serve(t, test.port, binary, run...); !test.answers(body) {
				t.Errorf("GET / answers %q", body)
			}
			if mounts := output(t, "cat", "/proc/self/mounts"); strings.Contains(mounts, os.Getenv("OCIBUILD_STORE")+"/") {
				t.Errorf("a mount is left in the store:\n%s", mounts)
			}
			checkNothingOfTheMachine(t, binary, tag)
		})
	}
}

// contextOf returns the folder to build from: the example itself, or a copy with the binary it wants.
func contextOf(t *testing.T, e example) string {
	t.Helper()
	if e.program == "" {
		return e.dir
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(e.dir)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, e.program), "./"+e.dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// freePort moves a service away from a port that is in use, where its arguments allow it.
func freePort(t *testing.T, e example) (int, []string) {
	t.Helper()
	l, err := net.Listen("tcp", ":"+strconv.Itoa(e.port))
	if err == nil {
		_ = l.Close()
		return e.port, e.args
	}
	if e.port != 80 {
		t.Skipf("port %d is in use: %v", e.port, err)
	}
	if l, err = net.Listen("tcp", ":0"); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	return port, []string{"--port", strconv.Itoa(port)}
}

// serve runs a service, asks it for /, ends it with SIGTERM, and sees that it is gone.
func serve(t *testing.T, port int, name string, args ...string) string {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	body, err := get(ctx, "http://127.0.0.1:"+strconv.Itoa(port)+"/")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
		t.Errorf("SIGTERM does not end it")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
		_ = c.Close()
		t.Errorf("port %d still answers: a process is left", port)
	}
	return body
}

// get asks until somebody answers.
func get(ctx context.Context, url string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err == nil {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return string(body), err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// checkNothingOfTheMachine: what the flags gave to RUN is in no layer and no config.
func checkNothingOfTheMachine(t *testing.T, binary, tag string) {
	t.Helper()
	dir := t.TempDir()
	output(t, binary, "save", "-o", filepath.Join(dir, "image.tar"), tag)
	output(t, "skopeo", "copy", "--quiet", "oci-archive:"+filepath.Join(dir, "image.tar"), "oci:"+filepath.Join(dir, "oci")+":x")
	output(t, "umoci", "unpack", "--image", filepath.Join(dir, "oci")+":x", filepath.Join(dir, "bundle"))
	for _, name := range []string{"etc/pip.conf", "root/.config/pip/pip.conf", "root/.pip", "etc/apt/apt.conf.d/99machine"} {
		if _, err := os.Lstat(filepath.Join(dir, "bundle/rootfs", name)); err == nil {
			t.Errorf("%s is in the image", name)
		}
	}
}
