package layer

import "context"

// ApplyOptions directs [Apply].
type ApplyOptions struct {
	// UserXattr writes overlay attributes as user.overlay.* (for overlays
	// mounted with userxattr in a user namespace) instead of trusted.overlay.*.
	UserXattr bool
	// MaxEntries and MaxBytes bound what a hostile layer may claim; zero means
	// DefaultMaxEntries and DefaultMaxBytes.
	MaxEntries int
	MaxBytes   int64
	// Lower returns the trees of the layers below, the lowest first. It is
	// called at most once, and only when the layer cannot be unpacked by itself:
	// a hard link to a file of a lower layer is then a copy of that file, and a
	// directory that the tar only implies gets the metadata it has below. Nil
	// means that nothing lies below.
	Lower func(context.Context) ([]string, error)
}
