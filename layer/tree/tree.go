// Package tree keeps a layer as a directory of the host, in the form overlayfs
// expects of its directories.
//
// [Apply] unpacks a layer's tar into a directory that can serve as a lower one;
// what an overlay of such directories shows is what a [layer.View] of their
// layers shows. [PrepareUpper] readies an empty upper directory, and [Diff]
// reads back as entries what was changed in it. Where there are no overlays,
// [Lay] lays one layer over another in a single directory. Linux only; elsewhere
// each of them tells so.
package tree

import (
	"context"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

// Form is how a tree says what its files cannot be or have by themselves. A tree
// is read in the form that it was written in.
type Form int

// The forms.
const (
	// Trusted is for real root: overlay attributes are trusted.overlay.*.
	Trusted Form = iota
	// User is for a user namespace, whose overlays are mounted with userxattr:
	// the attributes are user.overlay.*.
	User
	// Owned is for a user namespace with a single id. It is as User; owners and
	// device numbers stand in attributes, as package owner tells.
	Owned
)

// ApplyOptions directs [Apply].
type ApplyOptions struct {
	layer.Limits
	Form Form
	// Lower returns the trees of the layers below, the lowest first. It is
	// called at most once, and only when the layer cannot be unpacked by itself:
	// a hard link to a file of a lower layer is then a copy of that file, and a
	// directory that the tar only implies gets the metadata it has below. Nil
	// means that nothing lies below.
	Lower func(context.Context) ([]string, error)
	// Hide is told what of the layers below this one hides, in place of marks in
	// dir, for a layer that [Lay] is to lay over them. Nil means marks.
	Hide func(Hidden)
}

// Hidden is what a layer hides of those below it.
type Hidden struct {
	Name string // as in layer.Entry; no part of it is a symbolic link of the layer
	// Inside means what is in the directory of that name, and not the name itself.
	Inside bool
}

// DiffOptions directs [Diff].
type DiffOptions struct {
	Form Form
	// Since is when upper was made ready, by the clock of its file system. What is
	// done in a directory gives it a later time, which is no change of it; any other
	// time but that of the one below was given to it on purpose. Zero means that no
	// time of a directory is a change.
	Since time.Time
	// Prune removes from upper what turns out to be unchanged, and the parts of
	// a second of modification times, so that upper itself is exactly the layer
	// and can serve as a lower directory of others.
	Prune bool
}
