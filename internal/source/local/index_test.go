package local

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/layer"
	"github.com/opencontainers/go-digest"
)

// age waits until what was just written is old enough to be trusted.
func age() { time.Sleep(racyWindow + 50*time.Millisecond) }

// known returns which names an index file gives digests for.
func known(t *testing.T, file string) []string {
	t.Helper()
	blocks, err := loadIndex(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for dir, b := range blocks {
		for i := range b.count {
			names = append(names, below(dir)+b.base(i))
		}
	}
	slices.Sort(names)
	return names
}

// beside makes temporary files where an index is to be.
func beside(index string) func(string) (*os.File, error) {
	return func(pattern string) (*os.File, error) { return os.CreateTemp(filepath.Dir(index), pattern) }
}

// build does what a build does with a context.
func build(t *testing.T, dir, index string) map[string]layer.Entry {
	t.Helper()
	x := OpenIndex(index)
	l := open(t, dir, nil, x)
	seen := map[string]layer.Entry{}
	var entries []layer.Entry
	for _, name := range walk(t, l, ".") {
		e, err := l.Lookup(t.Context(), strings.TrimSuffix(name, "/"))
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Name] = e
		entries = append(entries, e)
	}
	got, err := l.Digests(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if e.Type != layer.Regular {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name))
		if err != nil || got[i] != digest.FromBytes(content) {
			t.Errorf("digest of %s is %s, %v", e.Name, got[i], err)
		}
	}
	if err := x.Save(beside(index)); err != nil {
		t.Fatal(err)
	}
	return seen
}

func TestIndexAcrossBuilds(t *testing.T) {
	t.Parallel() // it waits for files to grow old
	dir := plant(t, map[string]string{"a": "one", "d/b": "two", "d/c": "three", "old/x": "x"})
	index := filepath.Join(t.TempDir(), "stat", "index")
	age()
	build(t, dir, index)
	if got := known(t, index); !slices.Equal(got, []string{"a", "d/b", "d/c", "old/x"}) {
		t.Fatalf("the index knows %q", got)
	}
	before, err := os.Stat(index)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range build(t, dir, index) {
		if e.Type == layer.Regular && e.Digest == "" {
			t.Errorf("%s would be read again", name)
		}
	}
	if after, err := os.Stat(index); err != nil || !os.SameFile(before, after) {
		t.Errorf("an index without news was written again: %v", err)
	}

	// Same size, and the modification time put back: the change time tells.
	b := filepath.Join(dir, "d", "b")
	info, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.WriteFile(b, []byte("TWO"), 0o644), os.Chtimes(b, info.ModTime(), info.ModTime()),
		os.Remove(filepath.Join(dir, "a")), os.RemoveAll(filepath.Join(dir, "old"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"d/b", "d/c"}
	e := build(t, dir, index)["d/b"]
	if hasChangeTime(t, b) {
		want = want[1:] // it is young
		if e.Digest != "" {
			t.Error("a changed file kept its digest")
		}
	}
	if got := known(t, index); !slices.Equal(got, want) {
		t.Errorf("the index knows %q; want what is gone or has changed forgotten", got)
	}
}

func hasChangeTime(t *testing.T, file string) bool {
	t.Helper()
	r, err := openHostRoot(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	f, s, err := r.open(filepath.Base(file))
	if err == nil {
		defer f.Close()
	}
	return err == nil && s.ctime != 0
}

func TestIndexDoesNotTrustYoungFiles(t *testing.T) {
	dir := plant(t, map[string]string{"a": "one"})
	index := filepath.Join(t.TempDir(), "index")
	build(t, dir, index)
	if got := known(t, index); len(got) != 0 {
		t.Errorf("the index trusts %q, written this moment", got)
	}
}

func TestRacy(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(s float64) int64 { return int64(s * 1e9) }
	tests := []struct {
		name         string
		mtime, ctime int64
		want         bool
	}{
		{"old", at(900), at(900), false},
		{"just old enough", at(998), at(998), false},
		{"changed a second ago", at(900), at(999), true},
		{"written a second ago, as far as one knows", at(999), at(900), true},
		{"written while it was read", at(1000.5), at(1000.5), true},
		{"dated into the future long ago", at(9000), at(900), false},
		{"the clock was set back", at(900), at(9000), true},
		{"no change time", at(900), 0, false},
		{"no change time, future", at(9000), 0, true},
	}
	for _, tt := range tests {
		if got := racy(fileStat{mtime: tt.mtime, ctime: tt.ctime}, now); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestIndexDamage(t *testing.T) {
	t.Parallel() // it waits for files to grow old
	dir := plant(t, map[string]string{"a": "one", "b": "two"})
	index := filepath.Join(t.TempDir(), "index")
	age()
	build(t, dir, index)
	good, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for _, bad := range [][]byte{good[:i], append(append(slices.Clone(good[:i]), good[i]^0x40), good[i+1:]...)} {
			if entries, err := decodeIndex(bad); err == nil {
				t.Fatalf("damage at byte %d went unnoticed: %v", i, entries)
			}
		}
	}
	if err := os.WriteFile(index, good[:len(good)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if x := OpenIndex(index); x.Damaged() == nil || !strings.Contains(x.Damaged().Error(), index) {
		t.Errorf("reason: %v", x.Damaged())
	}
	build(t, dir, index)
	if got := known(t, index); len(got) != 2 {
		t.Errorf("after a build the index knows %q", got)
	}
	if x := OpenIndex(filepath.Join(t.TempDir(), "none")); x.Damaged() != nil {
		t.Errorf("no index is no damage: %v", x.Damaged())
	}
}

func TestLearn(t *testing.T) {
	t.Parallel() // it waits for files to grow old
	dir := plant(t, map[string]string{"a": "one"})
	index := filepath.Join(t.TempDir(), "index")
	age()
	x := OpenIndex(index)
	l := open(t, dir, nil, x)
	e, err := l.Lookup(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	learn := func(read int, d digest.Digest) {
		t.Helper()
		r, err := l.Open(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.ReadFull(r, make([]byte, read)); err != nil {
			t.Fatal(err)
		}
		r.(*content).Learn(d)
	}
	learn(2, digest.FromString("on")) // a part of it says nothing
	learn(3, "nonsense")
	if e, err = l.Lookup(t.Context(), "a"); err != nil || e.Digest != "" {
		t.Errorf("digest %s, %v", e.Digest, err)
	}
	learn(3, digest.FromString("one"))
	if err := x.Save(beside(index)); err != nil {
		t.Fatal(err)
	}
	if got := known(t, index); len(got) != 1 {
		t.Errorf("the index knows %q", got)
	}
}

// Several contexts of one directory share an index, each with what it sees of it.
func TestIndexOfSeveralContexts(t *testing.T) {
	t.Parallel() // it waits for files to grow old
	dir := plant(t, map[string]string{"a": "1", "b": "2", "d/a": "3", "d/b": "4", "e/f": "5", "gone/f": "6", "file/f": "7"})
	index := filepath.Join(t.TempDir(), "index")
	age()
	build(t, dir, index)
	for _, err := range []error{
		os.RemoveAll(filepath.Join(dir, "gone")), os.RemoveAll(filepath.Join(dir, "file")), os.WriteFile(filepath.Join(dir, "file"), nil, 0o644),
		os.Remove(filepath.Join(dir, "d/b")), os.WriteFile(filepath.Join(dir, "d/new"), []byte("8"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	age()
	x := OpenIndex(index)
	for _, ignore := range [][]string{{"b", "e"}, {"*", "!d"}, {"d"}} {
		l := open(t, dir, ignore, x)
		var entries []layer.Entry
		for _, name := range walk(t, l, ".") {
			e, err := l.Lookup(t.Context(), strings.TrimSuffix(name, "/"))
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, e)
		}
		if _, err := l.Digests(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Save(beside(index)); err != nil {
		t.Fatal(err)
	}
	if got, want := known(t, index), []string{"a", "b", "d/a", "d/new", "e/f", "file"}; !slices.Equal(got, want) {
		t.Errorf("the index knows %q, want %q", got, want)
	}
}

func FuzzDecodeIndex(f *testing.F) {
	f.Add(encodeBlock([]byte(statMagic), "a", []remembered{{base: "b"}, {base: "c", sum: sha256.Sum256(nil)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, withSum(data)} {
			blocks, _ := decodeIndex(data)
			for _, b := range blocks {
				for i := range b.count {
					b.get(b.base(i), b.stat(i))
				}
			}
		}
	})
}

// withSum lets the fuzzer past the checksum.
func withSum(data []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(data), crc32.Checksum(data, castagnoli))
}
