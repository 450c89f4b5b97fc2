//go:build unix

package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := copied(); err == nil {
		os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// ocibuild is the binary under test; examples are built in its default store, which the caller chooses.
func ocibuild(t *testing.T) string {
	t.Helper()
	if os.Getenv("OCIBUILD_EXAMPLES") == "" {
		t.Skip("SKIPPED: needs root, base images and the network: make test sets OCIBUILD_EXAMPLES and runs it")
	}
	binary, err := copied()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// copied copies the binary: a process that has the copy open is one that these tests have started. Anybody may run it.
var copied = sync.OnceValues(func() (string, error) {
	from, err := os.Open(os.Getenv("OCIBUILD"))
	if err != nil {
		return "", fmt.Errorf("OCIBUILD: %w", err)
	}
	defer from.Close()
	dir, err := openTempDir()
	if err != nil {
		return "", err
	}
	to, err := os.OpenFile(filepath.Join(dir, "ocibuild"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(to, from); err != nil {
		return "", err
	}
	return to.Name(), to.Close()
})

// openTempDir makes a folder that every user may enter, which those of t.TempDir are not.
func openTempDir() (string, error) {
	dir, err := os.MkdirTemp("", "ocibuild-examples-*")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// place is a store of one test, and somebody who uses it.
type place struct {
	t      *testing.T
	binary string
	store  string
	as     func(*exec.Cmd) // changes who runs it; nil for us
}

// newPlace is an empty store.
func newPlace(t *testing.T) *place {
	t.Helper()
	return &place{t: t, binary: ocibuild(t), store: filepath.Join(t.TempDir(), "store")}
}

func (p *place) withBusybox() *place {
	p.t.Helper()
	return p.with("busybox")
}

// with brings an image here from the store that the examples are built in.
func (p *place) with(tag string) *place {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "image.tar")
	output(p.t, p.binary, "save", "-o", path, tag)
	archive, err := os.Open(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer archive.Close()
	load := p.command("load")
	load.Stdin = archive // whoever reads it may not enter the folder
	if out, err := load.CombinedOutput(); err != nil {
		p.t.Fatalf("load %s: %v\n%s", tag, err, out)
	}
	return p
}

func (p *place) command(args ...string) *exec.Cmd {
	return p.program(p.binary, args...)
}

func (p *place) program(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "OCIBUILD_STORE="+p.store)
	if p.as != nil {
		p.as(cmd)
	}
	return cmd
}

// run wants the command to succeed, and returns both of its outputs.
func (p *place) run(args ...string) (stdout, stderr string) {
	p.t.Helper()
	var out, errs bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("ocibuild %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), errs.String()
}

// image is what ocibuild inspect tells of an image.
type image struct {
	Digest digest.Digest
	Layers []struct {
		Digest, DiffID digest.Digest
		Size           int64
		Stored         bool
	}
}

func (p *place) inspect(name string) image {
	p.t.Helper()
	var img image
	stdout, _ := p.run("inspect", name)
	if err := json.Unmarshal([]byte(stdout), &img); err != nil {
		p.t.Fatalf("ocibuild inspect %s: %v\n%s", name, err, stdout)
	}
	return img
}

// files writes a folder to build from.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
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
