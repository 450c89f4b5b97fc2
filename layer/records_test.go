package layer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A table whose records take several parts is as one of a single part, and as one
// whose records were written without parts.
func TestRecordsOfManyEntries(t *testing.T) {
	const n = 60_000
	entry := func(i int) Entry {
		return Entry{Name: fmt.Sprintf("%s/%06d", strings.Repeat("n", 100+i%7), i), Type: Regular, Mode: 0o644, Size: int64(i)}
	}
	var b tocBuilder
	var whole []byte
	var index []uint32
	for i := range n {
		e := entry(i)
		if err := b.add(&e); err != nil {
			t.Fatal(err)
		}
		index, whole = append(index, uint32(len(whole))), appendRecord(whole, &e, 0)
	}
	if len(b.records.parts) < 2 {
		t.Fatalf("%d parts", len(b.records.parts))
	}
	built, err := b.finish(0)
	if err != nil {
		t.Fatal(err)
	}
	old := &TOC{records: recordsOf(whole), index: index}
	old.sort()
	for what, toc := range map[string]*TOC{"built": built, "without parts": old} {
		stored := toc.Encode()
		read, err := DecodeTOC(stored)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i := range n {
			want := entry(i)
			if got, ok := read.Lookup(want.Name); !ok || !cmp.Equal(want, got, cmp.AllowUnexported(Entry{})) {
				t.Fatalf("%s: %+v, want %+v", what, got, want)
			}
		}
		if !bytes.Equal(read.Encode(), stored) {
			t.Errorf("%s: stored in another way when it is stored again", what)
		}
	}
}

func TestARecordIsInOnePart(t *testing.T) {
	var r records
	for _, length := range []int{partSize / 2, partSize / 2, 10, partSize + 1} {
		e := Entry{Name: "f", Type: Symlink, Linkname: strings.Repeat("x", length)}
		off, err := r.add(&e, 0)
		if length > partSize {
			if err == nil {
				t.Error("a record longer than a part")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		toc := &TOC{records: r}
		if got := toc.entryAt(off); got.Linkname != e.Linkname {
			t.Errorf("%d bytes of %d", len(got.Linkname), length)
		}
	}
}

// A table without opaque directories is asked for a name alone, any other for all
// names above it too. Both say the same.
func TestSeeMergedIsAsSeeOnTheWay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "a-", "a/b", "a/b/c", "a/b-", "a/bc/d", "b", "b/c/d/e"}
	for range 2000 {
		var b tocBuilder
		for _, i := range r.Perm(len(names))[:r.IntN(len(names))] {
			e := Entry{Name: names[i], Type: []Type{Directory, Directory, Regular, Whiteout}[r.IntN(4)]}
			if err := b.add(&e); err != nil {
				t.Fatal(err)
			}
		}
		toc, err := b.finish(0)
		if err != nil || !toc.merges {
			continue
		}
		for _, key := range append(names, "", "a/b/c/x", "a/x", "b/c", "b/c/d", "0", "z") {
			if got, want := toc.seeMerged(key), toc.seeOnTheWay(key); got != want {
				t.Fatalf("%q: %+v, on the way %+v, in %v", key, got, want, slices.Collect(toc.All()))
			}
		}
	}
}
