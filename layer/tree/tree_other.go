//go:build !linux

package tree

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/ocibuild/ocibuild/layer"
)

// Apply unpacks a layer tar for overlayfs; it is there on Linux only.
func Apply(ctx context.Context, r io.Reader, dir string, o ApplyOptions) error {
	return fmt.Errorf("unpack layer into %s: not possible on %s", dir, runtime.GOOS)
}

// Diff reads an overlay's upper directory; it is there on Linux only.
func Diff(ctx context.Context, upper string, lowers []string, w *layer.Writer, o DiffOptions) error {
	return fmt.Errorf("diff %s: not possible on %s", upper, runtime.GOOS)
}

// PrepareUpper readies an overlay's upper directory; it is there on Linux only.
func PrepareUpper(upper string, lowers []string, f Form) ([]string, error) {
	return nil, fmt.Errorf("prepare %s: not possible on %s", upper, runtime.GOOS)
}

// Lay lays a layer over others; it is there on Linux only.
func Lay(dir, onto string, hidden []Hidden, f Form) error {
	return fmt.Errorf("lay %s over %s: not possible on %s", dir, onto, runtime.GOOS)
}
