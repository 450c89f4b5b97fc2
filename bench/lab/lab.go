package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const module = "github.com/ocibuild/ocibuild/bench"

// Lab is one directory, one registry and the tools to be measured.
type Lab struct {
	dir                 string
	registry            *daemon
	origin              string // the registry itself
	meter               *meter
	buildctl, buildkitd string
	ocibuild            string // empty until it is built
}

// Options names the binary under test; empty means to build it.
type Options struct{ Ocibuild string }

// Open starts the registry and builds what is to be measured.
func Open(ctx context.Context, o Options) (l *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("measuring needs root: BuildKit's daemon mounts overlays and runs containers")
	}
	dir, err := os.MkdirTemp("", "ocibuild-bench-*")
	if err != nil {
		return nil, err
	}
	begun := &Lab{dir: dir, ocibuild: o.Ocibuild}
	defer func() {
		if err != nil {
			begun.Close()
		}
	}()
	l = begun
	if err := l.findTools(ctx); err != nil {
		return nil, err
	}
	if l.registry, l.origin, err = startRegistry(ctx, filepath.Join(dir, "registry")); err != nil {
		return nil, err
	}
	if l.meter, err = startMeter(ctx, l.origin); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Lab) findTools(ctx context.Context) (err error) {
	if _, err := exec.LookPath("runc"); err != nil {
		return fmt.Errorf("BuildKit runs its containers with runc: %w", err)
	}
	if l.buildkitd, err = goTool(ctx, "buildkitd"); err != nil {
		return err
	}
	if l.buildctl, err = goTool(ctx, "buildctl"); err != nil {
		return err
	}
	return nil
}

// goTool builds a tool of this module, or finds it built.
func goTool(ctx context.Context, name string) (string, error) {
	return output(ctx, "env", "CGO_ENABLED=0", "go", "tool", "-n", name)
}

// goBuild builds as the project's Makefile does.
func goBuild(ctx context.Context, output, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", output, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Close ends what Open started and removes the directory.
func (l *Lab) Close() {
	if l.meter != nil {
		_ = l.meter.listener.Close()
	}
	if l.registry != nil {
		l.registry.stop()
	}
	os.RemoveAll(l.dir)
}

// Host is the registry's name in references, as builders see it.
func (l *Lab) Host() string { return l.meter.addr() }

// LinkOnly builds the program that links what a builder links and exits.
func (l *Lab) LinkOnly(ctx context.Context) (string, error) {
	output := filepath.Join(l.dir, "linkonly")
	return output, goBuild(ctx, output, module+"/linkonly")
}

// CompressOnly builds the program that compresses a tar and does nothing else. It
// is a program like others: ocibuild is built with a profile, this is not.
func (l *Lab) CompressOnly(ctx context.Context) (string, error) {
	output := filepath.Join(l.dir, "compressonly")
	return output, goBuild(ctx, output, module+"/compressonly")
}

// Ocibuild returns the binary under test, and builds it if it was not named.
func (l *Lab) Ocibuild(ctx context.Context) (string, error) {
	if l.ocibuild == "" {
		output := filepath.Join(l.dir, "ocibuild")
		if err := goBuild(ctx, output, "github.com/ocibuild/ocibuild/cmd/ocibuild"); err != nil {
			return "", err
		}
		l.ocibuild = output
	}
	return l.ocibuild, nil
}

// Dir makes a new, empty directory. Nothing is removed before Close: for half
// a minute ext4 walks around the inodes of what was deleted, at the cost of
// whoever makes files next.
func (l *Lab) Dir(name string) (string, error) {
	return os.MkdirTemp(l.dir, name+"-*")
}

// Context makes a new build context with the files given.
func (l *Lab) Context(name string, files map[string]string) (string, error) {
	dir, err := l.Dir(name)
	if err != nil {
		return "", err
	}
	for file, text := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// metered counts the bytes of what run does.
func (l *Lab) metered(run func() (Usage, error)) (Usage, error) {
	l.meter.reset()
	u, err := run()
	u.Received, u.Sent = l.meter.received.Load(), l.meter.sent.Load()
	return u, err
}
