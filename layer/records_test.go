package layer

import (
	"bytes"
	"fmt"
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
