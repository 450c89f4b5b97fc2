package local

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/layer"
)

// walked opens a directory with these files and lists all of it, as a COPY does.
func walked(t *testing.T, names ...string) *Dir {
	t.Helper()
	l := unwalked(t, names...)
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

// unwalked opens a directory with these files.
func unwalked(t *testing.T, names ...string) *Dir {
	t.Helper()
	files := map[string]string{}
	for _, name := range names {
		files[name] = name
	}
	return open(t, plant(t, files), []string{"ignored"}, nil)
}

var someFiles = []string{"a/b/1", "a/b/2", "a/c", "b", "c/d/e/f", "d", "ignored/x", "z/1"}

func TestG4FilesFollowInTheOrderOfTheTree(t *testing.T) {
	l := walked(t, someFiles...)
	var got []string
	for f, ok := l.after(t.Context(), ""); ok; f, ok = l.after(t.Context(), f.Name) {
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

// opened opens a file as a COPY does.
func opened(t *testing.T, l *Dir, name string) io.Reader {
	t.Helper()
	e, err := l.Lookup(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestG4FilesFromTheDiskLetOthersBeReadAhead(t *testing.T) {
	l := walked(t, someFiles...)
	read := func(name string) {
		t.Helper()
		r := opened(t, l, name)
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
		l.warmer.saw(onDisk)
	}
	read("a/b/2")
	l.readers.Wait()
	if queue, _ := l.warmer.state(); len(queue) == 0 || queue[0] != "a/c" {
		t.Errorf("after slow reads, %q is read ahead", queue)
	}
	read("c/d/e/f") // and not what lies between
	l.readers.Wait()
	if queue, _ := l.warmer.state(); slices.Contains(queue, "b") {
		t.Errorf("%q is read ahead, of which some is behind", queue)
	}
	l.readers.Wait()
	for range 2 * coldMost {
		l.warmer.saw(inMemory)
	}
	if _, cold := l.warmer.state(); cold >= coldAfter {
		t.Errorf("still %d after files in memory", cold)
	}
}

// The walk is not ahead of the reading: who reads ahead has to walk itself.
func TestG4ReadingAheadListsDirectories(t *testing.T) {
	l := unwalked(t, someFiles...)
	for _, name := range []string{".", "a", "a/b"} { // as a COPY of all does before the first file
		if _, err := l.ReadDir(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	l.warmer.cold = coldMost
	opened(t, l, "a/b/1")
	l.readers.Wait()
	queue, _ := l.warmer.state()
	if want := []string{"a/b/2", "a/c", "b", "c/d/e/f", "d", "z/1"}; !slices.Equal(queue, want) {
		t.Errorf("%q is read ahead, want %q", queue, want)
	}
}

// A COPY of one file lists nothing, and nothing beside it is read ahead.
func TestG4NothingIsReadAheadOfOneFile(t *testing.T) {
	l := unwalked(t, someFiles...)
	l.warmer.cold = coldMost
	opened(t, l, "a/b/1")
	l.readers.Wait()
	if queue, _ := l.warmer.state(); len(queue) > 0 || l.dirs["a/b"].listed {
		t.Errorf("%q is read ahead", queue)
	}
}
