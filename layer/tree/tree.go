// Package tree keeps a layer as a directory of the host, in the form overlayfs
// expects of its directories.
//
// [Apply] unpacks a layer's tar into a directory that can serve as a lower one;
// what an overlay of such directories shows is what a [layer.View] of their
// layers shows. [PrepareUpper] readies an empty upper directory, and [Diff]
// reads back as entries what was changed in it. Linux only; elsewhere each of
// them tells so.
package tree

import (
	"context"

	"github.com/ocibuild/ocibuild/layer"
)

// ApplyOptions directs [Apply].
type ApplyOptions struct {
	layer.Limits
	// UserXattr writes overlay attributes as user.overlay.* (for overlays
	// mounted with userxattr in a user namespace) instead of trusted.overlay.*.
	UserXattr bool
	// Lower returns the trees of the layers below, the lowest first. It is
	// called at most once, and only when the layer cannot be unpacked by itself:
	// a hard link to a file of a lower layer is then a copy of that file, and a
	// directory that the tar only implies gets the metadata it has below. Nil
	// means that nothing lies below.
	Lower func(context.Context) ([]string, error)
}

// DiffOptions directs [Diff].
type DiffOptions struct {
	// UserXattr reads overlay attributes as user.overlay.*.
	UserXattr bool
	// Prune removes from upper what turns out to be unchanged, and the parts of
	// a second of modification times, so that upper itself is exactly the layer
	// and can serve as a lower directory of others.
	Prune bool
}
