package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// copyVsCompression is the promise that a COPY costs little beside what its
// layer's compression does.
const copyVsCompression = 1.2

func measureCompress(ctx context.Context, b *bench) error {
	dir, err := b.lab.Context("compress", map[string]string{"Dockerfile": "FROM scratch\nCOPY tree /tree\n"})
	if err != nil {
		return err
	}
	if err := b.scale(bigCopyFiles).WriteTo(filepath.Join(dir, "tree")); err != nil {
		return err
	}
	work, err := b.lab.Dir("compress")
	if err != nil {
		return err
	}
	raw, blob := filepath.Join(work, "layer.tar"), filepath.Join(work, "layer.tar.gz")
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return err
	}
	if _, err := store.Tar(ctx, dir, raw); err != nil { // of a single layer, the image's files are the layer's tar
		return err
	}
	compressOnly, err := b.lab.CompressOnly(ctx)
	if err != nil {
		return err
	}
	var floors, ours []lab.Usage
	for range b.times(8) {
		if err := lab.Settle(raw); err != nil {
			return err
		}
		if floors, err = measured(floors)(lab.Measure(lab.Command(ctx, compressOnly, raw, blob))); err != nil {
			return err
		}
		if ours, err = measured(ours)(b.thrownAway(ctx, dir)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	least := b.table.add("the layer's tar, compressed only", floor, floors)
	our := b.table.add("cold", ocibuild, ours)
	b.table.ratio("wall / compression alone", our.Wall, least.Wall, copyVsCompression)
	return nil
}

// thrownAway builds into a store that is removed, as the floor's file is overwritten.
func (b *bench) thrownAway(ctx context.Context, dir string) (lab.Usage, error) {
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return lab.Usage{}, err
	}
	if err := lab.Settle(dir); err != nil {
		return lab.Usage{}, err
	}
	u, err := store.Build(ctx, dir, b.newName(), false)
	if err != nil {
		return u, err
	}
	return u, store.Remove()
}
