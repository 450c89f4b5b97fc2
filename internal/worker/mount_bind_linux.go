package worker

import (
	"context"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// bind shows files of layers: always through an overlay of their own, which
// hides whiteouts and takes the writes, to be kept or dropped.
func (a *attacher) bind(ctx context.Context, m Mount) (sandbox.Mount, error) {
	source, snap, err := a.s.trees.prepare(ctx, m.Layers, snapshot.Bare)
	if err != nil {
		return sandbox.Mount{}, err
	}
	if m.Keep {
		a.kept[m.Target] = snap
	} else {
		a.later(snap.Close)
	}
	if m.Keep || !m.ReadOnly {
		if err := snap.Change(ctx, m.Keep); err != nil {
			return sandbox.Mount{}, err
		}
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
