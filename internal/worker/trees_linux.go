package worker

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/snapshot"
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
	return t.s.snaps.Has(layers), nil
}
