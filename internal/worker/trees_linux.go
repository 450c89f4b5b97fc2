package worker

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// asked is a list of layers, lowest first.
type asked struct{ DiffIDs []digest.Digest }

// HasTrees tells which of the layers, lowest first, are unpacked already: of
// those a Request needs no byte.
func (c *Client) HasTrees(ctx context.Context, diffIDs []digest.Digest) ([]bool, error) {
	k, err := c.call(&message{Kind: kindTrees}, asked{diffIDs})
	if err != nil {
		return nil, err
	}
	var has []bool
	return has, k.answer(ctx, &has)
}

func (t *task) trees(context.Context) (any, error) {
	var a asked
	if err := t.decode(&a); err != nil {
		return nil, err
	}
	layers := make([]snapshot.Layer, len(a.DiffIDs))
	for i, id := range a.DiffIDs {
		layers[i].DiffID = id
	}
	return t.s.trees.has(layers), nil
}

// trees makes the trees that steps work in.
type trees interface {
	// has tells which of the layers, lowest first, need no blob.
	has(layers []snapshot.Layer) []bool
	// prepare makes a tree of layers, which a step finds at root. Where something
	// is mounted over layers, they lie on the ground g.
	prepare(ctx context.Context, layers []snapshot.Layer, g snapshot.Ground) (root string, t tree, err error)
	// close removes all that is not to stay.
	close() error
}

// tree is what a step changes. Close may be called whatever was called before.
type tree interface {
	// Change comes before anything in the tree is changed. What is changed is dropped
	// unless keep is set: then Diff tells it.
	Change(ctx context.Context, keep bool) error
	committer
	Close() error
}

// committer makes a layer of what was changed in a tree.
type committer interface {
	// Diff writes the changes; nothing may be running in the tree any more.
	Diff(ctx context.Context, w *layer.Writer) error
	// Adopt makes the tree, as Diff has left it, one that later steps build on.
	Adopt(diffID digest.Digest) (string, error)
}

// overlays are the trees where overlays are supported. An overlay of more layers than
// the kernel takes is a flat tree.
type overlays struct {
	*snapshot.Manager
	flat *lazyFlats
}

func (o overlays) has(layers []snapshot.Layer) []bool {
	if len(layers) > snapshot.MaxLayers {
		return o.flat.has(layers)
	}
	return o.Has(layers)
}

func (o overlays) close() error { return errors.Join(o.Close(), o.flat.close()) }

func (o overlays) prepare(ctx context.Context, layers []snapshot.Layer, g snapshot.Ground) (string, tree, error) {
	if len(layers) > snapshot.MaxLayers {
		return o.flat.prepare(ctx, layers, g)
	}
	lowers, err := o.Ensure(ctx, layers)
	if err != nil {
		return "", nil, err
	}
	snap, err := o.Prepare(ctx, lowers, g)
	if err != nil {
		return "", nil, err
	}
	return snap.Root(), stacked{snap}, nil
}

// stacked is an overlay, which tells changes by itself.
type stacked struct{ *snapshot.Snapshot }

func (stacked) Change(context.Context, bool) error { return nil }
