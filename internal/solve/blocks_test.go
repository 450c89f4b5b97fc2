package solve

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/ocibuild/ocibuild/cache"
)

// tower is a state of n layers, one on the other.
func tower(n int) llb.State {
	st := llb.Scratch()
	for i := range n {
		st = st.File(llb.Mkfile(fmt.Sprintf("/f%d", i), 0o644, []byte("x")))
	}
	return st
}

// recordBytes is what all records of a store weigh.
func (f *fixture) recordBytes() int64 {
	f.t.Helper()
	var sum int64
	seen := map[string]bool{} // a record has several names
	err := filepath.WalkDir(filepath.Join(f.Faces.Dir.Path(), "keys"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if !seen[string(data)] {
			sum += int64(len(data))
			seen[string(data)] = true
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return sum
}

// A step of an image with many layers costs no more than one of few.
func TestG3RecordsOfManyLayersAreSmall(t *testing.T) {
	weight := func(n int) int64 {
		f := newFixture(t)
		f.mustSolve(tower(n))
		return f.recordBytes() / int64(n)
	}
	few, many := weight(2*blockLayers), weight(10*blockLayers)
	if many > few*3/2 {
		t.Errorf("a step's record has %d bytes among few layers, %d among many", few, many)
	}
}

func TestG3AllLayersAreFoundAgain(t *testing.T) {
	for _, n := range []int{1, blockLayers - 1, blockLayers, blockLayers + 1, 2 * blockLayers, 3*blockLayers + 5} {
		f := newFixture(t)
		first := f.mustSolve(tower(n))
		if len(first) != n {
			t.Fatalf("%d layers of %d", len(first), n)
		}
		before := f.recordBytes()
		if again := f.mustSolve(tower(n)); !slices.Equal(diffIDs(first), diffIDs(again)) {
			t.Errorf("%d layers: other ones out of the cache", n)
		}
		if after := f.recordBytes(); after != before {
			t.Errorf("%d layers: the steps were done again", n)
		}
	}
}

// The second output of a step may have many layers, and the first one few.
func TestG3EachOutputHasItsOwnLayersBelow(t *testing.T) {
	f := newFixture(t)
	low, high := f.mustSolve(tower(3)), f.mustSolve(tower(2*blockLayers+3))
	rec := &cache.Record{}
	for _, out := range [][]Layer{low, high, low} {
		if err := f.list(t.Context(), rec, out); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int{len(low), len(high), len(low)} {
		if got, err := f.listed(t.Context(), rec, i); err != nil || len(got) != want {
			t.Errorf("output %d: %d layers of %d, %v", i, len(got), want, err)
		}
	}
}

func TestG3ALostBlockIsAMiss(t *testing.T) {
	f := newFixture(t)
	first := f.mustSolve(tower(2 * blockLayers))
	rec := &cache.Record{}
	if err := f.list(t.Context(), rec, first); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.Faces.Dir.Path(), "keys", rec.Below[0][:2], rec.Below[0][2:])
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := f.mustSolve(tower(2 * blockLayers)); !slices.Equal(diffIDs(first), diffIDs(again)) {
		t.Error("other layers were made")
	}
	if got, err := f.listed(t.Context(), rec, 0); err != nil || len(got) != len(first) {
		t.Errorf("the list was not made again: %d layers, %v", len(got), err)
	}
}
