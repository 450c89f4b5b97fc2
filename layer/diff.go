package layer

// DiffOptions directs [Diff].
type DiffOptions struct {
	// UserXattr reads overlay attributes as user.overlay.*.
	UserXattr bool
	// Prune removes from upper what turns out to be unchanged, and the parts of
	// a second of modification times, so that upper itself is exactly the layer
	// and can serve as a lower directory of others.
	Prune bool
}
