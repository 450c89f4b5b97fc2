//go:build !linux

package layer

import (
	"context"
	"fmt"
	"io"
	"runtime"
)

// Apply unpacks a layer tar for overlayfs; it is there on Linux only.
func Apply(ctx context.Context, r io.Reader, dir string, o ApplyOptions) error {
	return fmt.Errorf("unpack layer into %s: not possible on %s", dir, runtime.GOOS)
}
