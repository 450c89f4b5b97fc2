package kept

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// unpack lays layers, the lowest first, over what the tree holds. They are
// unpacked side by side and laid over each other in order.
func (t *Tree) unpack(ctx context.Context, layers []snapshot.Layer) error {
	laid := make([]chan struct{}, len(layers)+1) // [i] is closed when those below layer i are in the tree
	for i := range laid {
		laid[i] = make(chan struct{})
	}
	close(laid[0])
	g, ctx := errgroup.WithContext(ctx)
	// Started in order, so that a layer that waits for lower ones never holds the
	// place one of them needs.
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, l := range layers {
		g.Go(func() error {
			u := &unpacking{t: t, layer: l, dir: filepath.Join(t.dir, fmt.Sprintf(layerFiles, i)), below: laid[i]}
			if err := u.run(ctx); err != nil {
				return l.Failed(err)
			}
			close(laid[i+1])
			return nil
		})
	}
	return g.Wait()
}

// unpacking is that of one layer.
type unpacking struct {
	t     *Tree
	layer snapshot.Layer
	dir   string
	below <-chan struct{}

	mu     sync.Mutex
	hidden []tree.Hidden
}

func (u *unpacking) run(ctx context.Context) error {
	lower := func(ctx context.Context) ([]string, error) { return []string{u.t.Root()}, u.wait(ctx) }
	o := tree.ApplyOptions{Limits: u.t.m.Limits, Form: u.t.m.form, Lower: lower, Hide: u.hide}
	if err := snapshot.Unpack(ctx, u.layer, u.dir, o); err != nil {
		return err
	}
	if err := u.wait(ctx); err != nil {
		return err
	}
	if err := tree.Lay(u.dir, u.t.Root(), u.hidden, u.t.m.form); err != nil {
		return err
	}
	return os.RemoveAll(u.dir)
}

func (u *unpacking) hide(h tree.Hidden) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hidden = append(u.hidden, h)
}

// wait waits until all that lies below is in the tree.
func (u *unpacking) wait(ctx context.Context) error {
	select {
	case <-u.below:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
