//go:build !linux

package layer

import (
	"context"
	"fmt"
	"runtime"
)

// Diff reads an overlay's upper directory; it is there on Linux only.
func Diff(ctx context.Context, upper string, lowers []string, w *Writer, o DiffOptions) error {
	return fmt.Errorf("diff %s: not possible on %s", upper, runtime.GOOS)
}

// PrepareUpper readies an overlay's upper directory; it is there on Linux only.
func PrepareUpper(upper string, lowers []string, userXattr bool) ([]string, error) {
	return nil, fmt.Errorf("prepare %s: not possible on %s", upper, runtime.GOOS)
}
