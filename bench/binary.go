package main

import (
	"context"
	"os"

	"github.com/ocibuild/ocibuild/bench/lab"
)

const mostBinaryBytes = 30e6

func measureBinary(ctx context.Context, b *bench) error {
	binary, err := b.lab.Ocibuild(ctx)
	if err != nil {
		return err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	b.table.atMost("size of the static binary", float64(info.Size())/1e6, mostBinaryBytes/1e6, "MB")
	linkOnly, err := b.lab.LinkOnly(ctx)
	if err != nil {
		return err
	}
	var start, floors []lab.Usage
	for range b.times(20) {
		if start, err = measured(start)(lab.Measure(lab.Command(ctx, binary, "version"))); err != nil {
			return err
		}
		if floors, err = measured(floors)(lab.Measure(lab.Command(ctx, linkOnly))); err != nil {
			return err
		}
	}
	b.table.add("version", ocibuild, start)
	b.table.add("version", floor, floors)
	return nil
}

// measured appends a measurement to runs.
func measured(runs []lab.Usage) func(lab.Usage, error) ([]lab.Usage, error) {
	return func(u lab.Usage, err error) ([]lab.Usage, error) { return append(runs, u), err }
}
