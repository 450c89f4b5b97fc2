package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// host shows a path of this machine, read-only: what a build needs of it (a CA
// bundle, a package manager's configuration) it only reads.
func (a *attacher) host(_ context.Context, m Mount) (sandbox.Mount, error) {
	if !filepath.IsAbs(m.Source) {
		return sandbox.Mount{}, fmt.Errorf("host path %q is not absolute", m.Source)
	}
	// Resolved now and for good: the sandbox mounts what it is given.
	source, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("host path: %w", err)
	}
	if _, err := os.Stat(source); err != nil {
		return sandbox.Mount{}, fmt.Errorf("host path: %w", err)
	}
	return sandbox.Mount{Type: sandbox.Bind, Source: source, ReadOnly: true}, nil
}
