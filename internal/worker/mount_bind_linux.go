package worker

import (
	"context"

	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// bind shows files of layers: always through an overlay of their own, which
// hides whiteouts and takes the writes that are dropped.
func (a *attacher) bind(ctx context.Context, m Mount) (sandbox.Mount, error) {
	source, err := a.tree(ctx, m.Layers)
	if err != nil {
		return sandbox.Mount{}, err
	}
	if !isRoot(m.Selector) {
		f, err := choose(source, m.Selector)
		if err != nil {
			return sandbox.Mount{}, err
		}
		defer f.Close()
		if source, err = a.pin(f); err != nil {
			return sandbox.Mount{}, err
		}
	}
	return sandbox.Mount{Type: sandbox.Bind, Source: source, ReadOnly: m.ReadOnly}, nil
}
