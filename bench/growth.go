package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// The promises of growth: what one item more costs among many is at most so many
// times what it costs among fewer.
const (
	costOfMany     = 1.5
	mostOfAMillion = 300 // MiB, of 10^6 entries
)

// growth is a kind of input that may become large. A build of sizes[0] items is
// what all builds cost; the step from there to sizes[1], divided by the items that
// came in, is compared with the step to sizes[2].
type growth struct {
	name  string
	sizes [3]int
	// write makes the context of n items.
	write func(dir string, n int) error
	// files makes the build write its files into a directory.
	files bool
}

var growths = []growth{
	{"entries", [3]int{1_000, 100_000, 1_000_000}, writeEntries, false},
	{"steps", [3]int{10, 100, 1_000}, writeSteps, false},
	{"patterns", [3]int{10, 10_000, 100_000}, writePatterns, false},
	{"depth", [3]int{10, 500, 2_000}, writeDepth, true},
}

func measureGrowth(ctx context.Context, b *bench) error {
	for _, g := range growths {
		if b.quick {
			for i := range g.sizes {
				g.sizes[i] /= 10
			}
		}
		if err := b.grow(ctx, g); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}

func (b *bench) grow(ctx context.Context, g growth) error {
	var costs [3]lab.Usage
	for i, n := range g.sizes {
		dir, err := b.lab.Dir("growth")
		if err != nil {
			return err
		}
		if err := g.write(dir, n); err != nil {
			return err
		}
		var runs []lab.Usage
		for range b.times(max(1, min(7, 300_000/n))) {
			if runs, err = measured(runs)(b.grown(ctx, dir, g.files)); err != nil {
				return err
			}
		}
		costs[i] = b.table.add(fmt.Sprintf("%d %s", n, g.name), ocibuild, runs)
	}
	each := func(i int) time.Duration {
		return max(costs[i].CPU-costs[i-1].CPU, time.Millisecond) * 1000 / time.Duration(g.sizes[i]-g.sizes[i-1])
	}
	b.table.ratio(g.name+": CPU of one more among many / among few", each(2), each(1), costOfMany)
	if g.name == "entries" {
		b.table.atMost(g.name+": peak memory", float64(costs[2].Memory)/(1<<20), mostOfAMillion, "MiB")
	}
	return nil
}

// grown builds a context into a new store.
func (b *bench) grown(ctx context.Context, dir string, files bool) (lab.Usage, error) {
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return lab.Usage{}, err
	}
	if !files {
		return store.Build(ctx, dir, b.newName(), false)
	}
	dest, err := b.lab.Dir("files")
	if err != nil {
		return lab.Usage{}, err
	}
	return store.Files(ctx, dir, dest)
}

// writeContext makes a Dockerfile and other files.
func writeContext(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeEntries makes n files of a few bytes.
func writeEntries(dir string, n int) error {
	if err := (lab.Files{Count: n, Bytes: int64(n) * 16, Seed: 7}).WriteTo(filepath.Join(dir, "tree")); err != nil {
		return err
	}
	return writeContext(dir, map[string]string{"Dockerfile": "FROM scratch\nCOPY tree /tree\n"})
}

// writeSteps makes n instructions of a layer each.
func writeSteps(dir string, n int) error {
	var b strings.Builder
	b.WriteString("FROM scratch\n")
	for i := range n {
		fmt.Fprintf(&b, "COPY file /f%d\n", i)
	}
	return writeContext(dir, map[string]string{"Dockerfile": b.String(), "file": "x\n"})
}

// writePatterns makes n lines of an ignore file, for a few files.
func writePatterns(dir string, n int) error {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "node_modules/package%d/file\n", i)
	}
	files := map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": b.String()}
	for i := range 100 {
		files[fmt.Sprintf("file%d", i)] = "x\n"
	}
	return writeContext(dir, files)
}

// writeDepth makes n directories, each in the one before, with a file in each. An
// archive holds them: a context's paths cannot be that long.
func writeDepth(dir string, n int) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range n {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("d/", i+1) + "file", Mode: 0o644, Size: 1, Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write([]byte("x")); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return writeContext(dir, map[string]string{"Dockerfile": "FROM scratch\nADD tree.tar /\n", "tree.tar": b.String()})
}
