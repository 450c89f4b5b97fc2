package layer

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCompareNames(t *testing.T) {
	want := []string{".", "a", "a/b", "a/b/c", "a/bc", "a/é", "a\x01", "a-b", "a-b/c", "a.b", "aa", "b"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareNames)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("order differs (-want +got):\n%s", d)
	}
}

func TestTOCRoundTrip(t *testing.T) {
	m := write(t, WriterOptions{}, zoo()...)
	back, err := DecodeTOC(m.toc.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(entries(m.toc), entries(back), cmpopts.IgnoreUnexported(Entry{})); d != "" {
		t.Errorf("entries differ (-want +got):\n%s", d)
	}
	if d := cmp.Diff(m.toc.Groups, back.Groups); d != "" || back.RawSize != m.toc.RawSize || back.Compression != Gzip.Name() {
		t.Errorf("head differs: %s", d)
	}
	for _, it := range zoo() {
		if e, ok := back.Lookup(it.Name); !ok || e.Name != it.Name {
			t.Errorf("Lookup(%q) = %v, %v", it.Name, e, ok)
		}
	}
	if _, ok := back.Lookup("no"); ok {
		t.Error("found what is not there")
	}
}

func TestTOCChildren(t *testing.T) {
	toc := write(t, WriterOptions{}, reg("a/b/c", ""), reg("a/b/d", ""), dir("a/e"), reg("a/e/f", ""), wh("a/g"), reg("a-b", ""), reg("ab/c/d", "")).toc
	tests := []struct{ dir, want string }{
		{".", "a a-b ab"}, {"a", "a/b a/e a/g"}, {"a/b", "a/b/c a/b/d"}, {"a/e", "a/e/f"}, {"ab", "ab/c"}, {"no", ""}, {"a-b", ""},
	}
	for _, tt := range tests {
		var got []string
		for e := range toc.Children(tt.dir) {
			got = append(got, e.Name)
		}
		if d := cmp.Diff(tt.want, strings.Join(got, " ")); d != "" {
			t.Errorf("Children(%q): %s", tt.dir, d)
		}
	}
}

func TestDecodeTOCDamage(t *testing.T) {
	data := write(t, WriterOptions{}, zoo()...).toc.Encode()
	for i := range data {
		damaged := bytes.Clone(data)
		damaged[i] ^= 0x55
		if _, err := DecodeTOC(damaged); err == nil {
			t.Errorf("byte %d changed: no error", i)
		}
		if _, err := DecodeTOC(data[:i]); err == nil {
			t.Errorf("cut at %d: no error", i)
		}
	}
}

func FuzzDecodeTOC(f *testing.F) {
	for _, items := range [][]item{nil, {reg("a", "1")}, zoo(), {reg("a/b", "1"), hard("c", "d"), wh("e")}} {
		f.Add(write(f, WriterOptions{}, items...).toc.Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// With a right checksum damage goes further.
		if head := len(tocMagic); len(data) > head+4 {
			binary.LittleEndian.PutUint32(data[head:], crc32.Checksum(data[head+4:], castagnoli))
		}
		toc, err := DecodeTOC(data)
		if err != nil {
			return
		}
		poke(t, toc)
	})
}

// bigTOC is a table of 60,000 entries in 3,000 directories.
func bigTOC(t testing.TB) (path string) {
	t.Helper()
	var b tocBuilder
	for i := range 60_000 {
		e := reg(fmt.Sprintf("usr/lib/python3/dist-packages/dir%04d/file%02d.py", i/20, i%20), "").Entry
		e.Digest, e.Size, e.Offset = "sha256:"+"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 10_000, int64(i)*10_000
		if err := b.add(&e); err != nil {
			t.Fatal(err)
		}
	}
	toc, err := b.finish(600_000_000)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "toc")
	if err := os.WriteFile(path, toc.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func lookupTen(t testing.TB, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	toc, err := DecodeTOC(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, ok := toc.Lookup(fmt.Sprintf("usr/lib/python3/dist-packages/dir%04d/file%02d.py", i*300, i)); !ok {
			t.Fatal("an entry is missing")
		}
	}
}

// TestTOCIsNotDecoded holds the promise that a table is used for the price of
// reading it: looking ten names up does not make 60,000 entries.
func TestTOCIsNotDecoded(t *testing.T) {
	path := bigTOC(t)
	if n := testing.AllocsPerRun(5, func() { lookupTen(t, path) }); n > 1000 {
		t.Errorf("10 lookups among 60,000 entries allocate %v times", n)
	}
}

func BenchmarkTOCLookup(b *testing.B) {
	path := bigTOC(b)
	b.ReportAllocs()
	for b.Loop() {
		lookupTen(b, path)
	}
}

func BenchmarkViewLookup100(b *testing.B) {
	var layers []*Layer
	for i := range 100 {
		layers = append(layers, write(b, WriterOptions{}, dir("usr"), dir("usr/lib"), reg(fmt.Sprintf("usr/lib/f%d", i), "")).layer(nil))
	}
	v, ctx := NewView(layers), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Lookup(ctx, "usr/lib/f0"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestGroupReader(t *testing.T) {
	items := append(forest(12, 40, 9_000), reg("huge", noise(3, 9<<20)))
	for _, c := range []Compression{Gzip, Zstd, Uncompressed} {
		m := write(t, WriterOptions{Compression: c}, items...)
		raw := m.raw(t)
		r, err := NewGroupReader(bytes.NewReader(m.blob), m.toc)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for off := i * 1000; off < len(raw); off += len(raw) / 9 {
					p := make([]byte, min(3<<20, len(raw)-off))
					if n, err := r.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, raw[off:off+n]) {
						t.Errorf("%s: wrong bytes at %d: %v", c.Name(), off, err)
					}
				}
			})
		}
		wg.Wait()
		if n, err := r.ReadAt(make([]byte, 10), int64(len(raw))-4); n != 4 || err != io.EOF {
			t.Errorf("%s: at the end: %d, %v", c.Name(), n, err)
		}
	}
}

func TestGroupReaderDamage(t *testing.T) {
	m := write(t, WriterOptions{}, forest(1, 3, 5_000)...)
	damaged := bytes.Clone(m.blob)
	damaged[len(damaged)/2] ^= 1
	for name, blob := range map[string][]byte{"damaged": damaged, "short": m.blob[:len(m.blob)-9]} {
		r, err := NewGroupReader(bytes.NewReader(blob), m.toc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 10), 0); err == nil || err == io.EOF {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	lies := *m.toc
	lies.Groups = []Group{{RawSize: m.toc.RawSize + 1, Size: int64(len(m.blob))}}
	if _, err := NewGroupReader(bytes.NewReader(m.blob), &lies); err == nil {
		t.Error("groups that do not add up are accepted")
	}
}

// A layer that lies under one name of the root says at once that it has nothing
// of another, and says the same as one that is searched.
func TestG3ALayerUnderOneNameSeesWhatASearchSees(t *testing.T) {
	for i, entries := range [][]item{
		{reg("a", "")}, {dir("a"), reg("a/b", "")}, {reg("a/b", ""), reg("a/c", "")}, {reg("a", ""), reg("a.b", "")},
		{dir("a"), reg("a/b", ""), reg("b", "")}, {dir("."), reg("a", "")}, {wh("a")}, {wh("a/b")}, {},
	} {
		toc := write(t, WriterOptions{}, entries...).toc
		searched := *toc
		searched.within = ""
		for _, name := range []string{".", "a", "a/b", "a/b/c", "a.b", "a-", "b", "b/c", "c", "a\x00", ""} {
			key := nameKey(name)
			if got, want := toc.see(key), searched.see(key); got != want {
				t.Errorf("%q in layer %d: %+v, a search says %+v", name, i, got, want)
			}
		}
	}
}
