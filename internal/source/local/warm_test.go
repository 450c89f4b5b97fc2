package local

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/layer"
)

// walked opens a directory with these files and lists all of it, as a COPY does.
func walked(t *testing.T, names ...string) *Dir {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(dir, []string{"ignored"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var list func(string)
	list = func(name string) {
		entries, err := l.ReadDir(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type == layer.Directory {
				list(e.Name)
			}
		}
	}
	list(".")
	return l
}

var someFiles = []string{"a/b/1", "a/b/2", "a/c", "b", "c/d/e/f", "d", "ignored/x", "z/1"}

func TestG4FilesFollowInTheOrderOfTheTree(t *testing.T) {
	l := walked(t, someFiles...)
	var got []string
	for f, ok := l.after(""); ok; f, ok = l.after(f.Name) {
		got = append(got, f.Name)
	}
	want := slices.DeleteFunc(slices.Clone(someFiles), func(s string) bool { return strings.HasPrefix(s, "ignored") })
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func (w *warmer) state() (queue []string, cold int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.queue), w.cold
}

func TestG4SlowReadsLetFilesBeReadAhead(t *testing.T) {
	l := walked(t, someFiles...)
	read := func(name string) {
		t.Helper()
		e, err := l.Lookup(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Open(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if data, err := io.ReadAll(r); err != nil || string(data) != name {
			t.Errorf("%q, %v", data, err)
		}
	}
	l.warmer.cold = -1000 // fast, whatever this machine does meanwhile
	read("a/b/1")
	if queue, _ := l.warmer.state(); len(queue) > 0 {
		t.Errorf("%q is read ahead of fast reads", queue)
	}
	l.warmer.cold = 0
	for range coldAfter {
		l.warmer.waited(2*slowRead, false)
	}
	read("a/b/2")
	if queue, _ := l.warmer.state(); len(queue) == 0 || queue[0] != "a/c" {
		t.Errorf("after slow reads, %q is read ahead", queue)
	}
	read("c/d/e/f") // and not what lies between
	if queue, _ := l.warmer.state(); slices.Contains(queue, "b") {
		t.Errorf("%q is read ahead, of which some is behind", queue)
	}
	l.readers.Wait()
	for range 2 * coldMost {
		l.warmer.waited(0, true)
	}
	if _, cold := l.warmer.state(); cold >= coldAfter {
		t.Errorf("still %d after fast reads", cold)
	}
}
