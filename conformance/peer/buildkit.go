// Package peer builds cases: with a BuildKit daemon of its own, and with
// ocibuild in this process.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/ocibuild/ocibuild/conformance/suite"
)

const buildkitConfig = `root = %q
insecure-entitlements = ["security.insecure"]
[worker.oci]
  enabled = true
  gc = false
  networkMode = "host"
  snapshotter = "overlayfs"
  binary = "runc"
[worker.containerd]
  enabled = false
[registry."docker.io"]
  mirrors = [%q]
[registry.%q]
  http = true
  insecure = true
`

const patience = 30 * time.Second

// random is what is another in every run.
var random = regexp.MustCompile(`ref [a-z0-9]+::[a-z0-9]+|/[^ ]*/buildkit[0-9]+`)

// BuildKit is a running daemon.
type BuildKit struct {
	Place
	buildctl, socket string
	daemon           *exec.Cmd
	output           bytes.Buffer
	gone             chan struct{}
	err              error // of the daemon's end, once gone is closed
}

// StartBuildKit starts a daemon.
func StartBuildKit(ctx context.Context, at Place) (*BuildKit, error) {
	buildkitd, err := goTool(ctx, "buildkitd")
	if err != nil {
		return nil, err
	}
	b := &BuildKit{Place: at, socket: "unix://" + filepath.Join(at.Dir, "sock"), gone: make(chan struct{})}
	if b.buildctl, err = goTool(ctx, "buildctl"); err != nil {
		return nil, err
	}
	config := filepath.Join(at.Dir, "buildkitd.toml")
	text := fmt.Sprintf(buildkitConfig, filepath.Join(at.Dir, "root"), at.Mirror, at.Mirror)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	b.daemon = exec.CommandContext(ctx, buildkitd, "--config", config, "--addr", b.socket)
	b.daemon.Cancel = func() error { return b.daemon.Process.Signal(syscall.SIGTERM) }
	b.daemon.WaitDelay = patience
	b.daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // its mounts go when it goes
	b.daemon.Stdout, b.daemon.Stderr = &b.output, &b.output
	if err := b.daemon.Start(); err != nil {
		return nil, err
	}
	go func() {
		b.err = b.daemon.Wait()
		close(b.gone)
	}()
	if err := b.ready(ctx); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

func (b *BuildKit) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for exec.CommandContext(ctx, b.buildctl, "--addr", b.socket, "debug", "workers").Run() != nil {
		select {
		case <-b.gone:
			return fmt.Errorf("buildkitd ended early: %w\n%s", b.err, b.output.Bytes())
		case <-ctx.Done():
			return fmt.Errorf("buildkitd is not ready: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// Stop ends the daemon.
func (b *BuildKit) Stop() {
	_ = b.daemon.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-b.gone:
	case <-time.After(patience):
		_ = b.daemon.Process.Kill()
		<-b.gone
	}
}

// Build builds a case and describes the result; a build that fails has one too.
func (b *BuildKit) Build(ctx context.Context, c *suite.Case) (*suite.Result, error) {
	return b.build(ctx, c, func(ctx context.Context, w *written) (*suite.Result, error) {
		args, err := b.arguments(w)
		if err != nil {
			return nil, err
		}
		out, err := exec.CommandContext(ctx, b.buildctl, args...).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && ctx.Err() == nil {
			return failure(string(out))
		}
		if err != nil {
			return nil, err
		}
		return suite.ReadResult(w.image)
	})
}

// failure finds the error and the first line that is marked in what buildctl prints.
func failure(out string) (*suite.Result, error) {
	r := &suite.Result{}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "error: "); ok {
			r.Error = strings.TrimPrefix(text, "failed to solve: ")
		}
		if r.Line == 0 && strings.Contains(line, "| >>> ") {
			if _, err := fmt.Sscanf(line, "%d |", &r.Line); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
		}
	}
	r.Error = random.ReplaceAllString(r.Error, "…")
	if r.Error == "" {
		return nil, fmt.Errorf("no error in what buildctl prints:\n%s", out)
	}
	return r, nil
}

// goTool builds a tool of this module, or finds it built.
func goTool(ctx context.Context, name string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
