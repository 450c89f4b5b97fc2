//go:build unix

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

// machineFlags let a RUN reach package indexes as this machine does. Two more are of no use to it: that nothing of the
// machine stays in an image is seen even where the machine needs no flag.
func machineFlags(t *testing.T, managers []string) []string {
	t.Helper()
	dir := open(t)
	cmd := exec.Command("./machine-flags.sh", append([]string{dir}, managers...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("machine-flags.sh: %v", err)
	}
	marker := filepath.Join(dir, "marker")
	if err := os.WriteFile(marker, []byte("of the machine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	flags := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	return append(flags, "--volume="+marker+":/opt/of/the/machine:ro", "--build-arg=ftp_proxy=http://of-the-machine.invalid")
}

type example struct {
	dir      string
	base     string            // the base that its RUN commands stand on; none has none
	stage    string            // the stage of those commands, if it is not the last
	program  string            // where the context needs a binary: its name, made of the folder's own main package
	managers []string          // package managers that the Dockerfile uses
	args     []string          // of the run
	prints   string            // what a program that ends prints
	port     int               // where a service that stays listens; its args may move it
	answers  func(string) bool // whether the answer to GET / is the right one

	contained bool // it is built with the rights of a container
}

func TestExamples(t *testing.T) {
	tests := []example{
		{dir: "hello-world", program: "hello", prints: "Hello from an image that holds one file!\n"},
		{dir: "busybox-echo", base: "busybox", prints: "Hello World\n"},
		{dir: "go-multistage", base: "debian:bookworm-slim", stage: "build", managers: []string{"apt"}, args: []string{"Ada"},
			prints: "Hello Ada from a stage of its own!\n"},
		{dir: "pyserv", base: "python:3.10-slim", port: 8000, answers: func(body string) bool { return body == "Hello from pyserv\n" }},
		{dir: "simple-fastapi", base: "python:3.10-slim", managers: []string{"pip"}, port: 80, answers: func(body string) bool {
			var got map[string]string
			return json.Unmarshal([]byte(body), &got) == nil && len(got) == 1 && got["message"] == "Hello world!"
		}},
		{dir: "go-module", contained: true, managers: []string{"go"}, prints: "Don't communicate by sharing memory, share memory by communicating.\n"},
		{dir: "rust-cargo", contained: true, base: "debian:bookworm-slim", managers: []string{"cargo"}, args: []string{"Grüße, 世界"},
			prints: "11 columns: Grüße, 世界\n"},
		{dir: "node-npm", contained: true, base: "debian:bookworm-slim", managers: []string{"npm"}, args: []string{"2", "days"},
			prints: "2 days are 172800000 ms; memory is known: true\n"},
	}
	whole, binary, store := t, ocibuild(t), os.Getenv("OCIBUILD_STORE")
	bases := map[string]string{} // where their files are
	for _, test := range tests {
		t.Run(test.dir, func(t *testing.T) {
			if test.port != 0 {
				test.port, test.args = freePort(t, test)
			}
			tag := "examples/" + test.dir
			flags := machineFlags(t, test.managers)
			build := append([]string{"build"}, flags...)
			dir := contextOf(t, test)
			if build := append(build, "-t", tag, dir); test.contained {
				contained(t, binary, build...)
			} else {
				output(t, binary, build...)
			}
			nothingLeft(t, store, binary)

			run := append([]string{"run", "--rm", tag}, test.args...)
			if test.port == 0 {
				if got := output(t, binary, run...); got != test.prints {
					t.Errorf("got %q, want %q", got, test.prints)
				}
			} else if body := serve(t, test.port, binary, run...); !test.answers(body) {
				t.Errorf("GET / answers %q", body)
			}
			nothingLeft(t, store, binary)

			base := bases[test.base]
			if base == "" && test.base != "" {
				base, _ = readers(whole, binary, test.base)
				bases[test.base] = base
			}
			root, config := readers(t, binary, tag)
			if test.stage != "" {
				checkNothingOfTheMachine(t, flags, root, "", config) // the last one stands on scratch
				output(t, binary, append(build, "-t", tag+"-stage", "--target", test.stage, dir)...)
				root, config = readers(t, binary, tag+"-stage")
			}
			checkNothingOfTheMachine(t, flags, root, base, config)
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
