// Package peer builds cases: with a BuildKit daemon of its own, and with
// ocibuild in this process.
package peer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/sirupsen/logrus"

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
	client *client.Client
	daemon *exec.Cmd
	output bytes.Buffer
	gone   chan struct{}
	err    error // of the daemon's end, once gone is closed
}

// StartBuildKit starts a daemon.
func StartBuildKit(ctx context.Context, at Place) (*BuildKit, error) {
	logrus.SetLevel(logrus.ErrorLevel) // the client warns of a file system without fs-verity, for each image
	buildkitd, err := goTool(ctx, "buildkitd")
	if err != nil {
		return nil, err
	}
	b := &BuildKit{Place: at, gone: make(chan struct{})}
	socket := "unix://" + filepath.Join(at.Dir, "sock")
	if b.client, err = client.New(ctx, socket); err != nil {
		return nil, err
	}
	config := filepath.Join(at.Dir, "buildkitd.toml")
	text := fmt.Sprintf(buildkitConfig, filepath.Join(at.Dir, "root"), at.Mirror, at.Mirror)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	b.daemon = exec.CommandContext(ctx, buildkitd, "--config", config, "--addr", socket)
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
	for {
		if _, err := b.client.ListWorkers(ctx); err == nil {
			return nil
		}
		select {
		case <-b.gone:
			return fmt.Errorf("buildkitd ended early: %w\n%s", b.err, b.output.Bytes())
		case <-ctx.Done():
			return fmt.Errorf("buildkitd is not ready: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends the daemon.
func (b *BuildKit) Stop() {
	_ = b.client.Close()                         // nothing is under way
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
		args, err := arguments(w)
		if err != nil {
			return nil, err
		}
		opt, err := solveOptions(args)
		if err != nil {
			return nil, err
		}
		// Of a context that it knows by its key, BuildKit gets what has changed since: then some directories have the
		// time of the change. So the key is another for each build.
		opt.SharedKey = filepath.Base(w.temp)
		if err := b.solve(ctx, opt); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			return failure(err)
		}
		return suite.ReadResult(w.image, b.Clock)
	})
}

// failure describes an error, and the first line that is marked in the source.
func failure(err error) (*suite.Result, error) {
	r := &suite.Result{}
	for line := range strings.Lines("error: " + err.Error()) { // it may end with what git has said
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "error: "); ok {
			r.Error = strings.TrimPrefix(text, "failed to solve: ")
		}
	}
	var marked bytes.Buffer
	for _, s := range errdefs.Sources(err) {
		if err := s.Print(&marked); err != nil {
			return nil, err
		}
	}
	for line := range strings.Lines(marked.String()) {
		line = strings.TrimSpace(line)
		if r.Line == 0 && strings.Contains(line, "| >>> ") {
			if _, err := fmt.Sscanf(line, "%d |", &r.Line); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
		}
	}
	r.Error = random.ReplaceAllString(r.Error, "…")
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
