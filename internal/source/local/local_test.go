package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ocibuild/ocibuild/layer"
	"github.com/opencontainers/go-digest"
)

// plant makes a directory of files; names that end in "/" are directories, and
// content that starts with "-> " makes a symbolic link.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(file, 0o755)
		} else if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, dir string, ignore []string, x *Index) *Dir {
	t.Helper()
	l, err := Open(dir, ignore, nil, x)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// walk lists every name of a tree, depth first; directories end in "/".
func walk(t *testing.T, l *Dir, dir string) []string {
	t.Helper()
	entries, err := l.ReadDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Type != layer.Directory {
			names = append(names, e.Name)
			continue
		}
		names = append(names, e.Name+"/")
		names = append(names, walk(t, l, e.Name)...)
	}
	return names
}

func TestShowsFilesAsAnImageWould(t *testing.T) {
	dir := plant(t, map[string]string{"file": "hello", "d/inner": "", "link": "-> /etc/passwd", "d/up": "-> ../file"})
	when := time.Unix(1700000000, 987654321)
	file := filepath.Join(dir, "file")
	if err := errors.Join(os.Chmod(file, 0o640|fs.ModeSetuid|fs.ModeSticky), os.Chtimes(file, when, when)); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, nil, nil)
	got, err := l.Lookup(t.Context(), "file")
	if err != nil {
		t.Fatal(err)
	}
	want := layer.Entry{Name: "file", Type: layer.Regular, Size: 5, Mode: 0o5640, ModTime: 1700000000}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *layer.Layer) bool { return a == b }), cmp.AllowUnexported(layer.Entry{})); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	link, err := l.Lookup(t.Context(), "link")
	if err != nil || link.Type != layer.Symlink || link.Linkname != "/etc/passwd" || link.Mode != 0o777 {
		t.Errorf("link = %+v, %v", link, err)
	}
	if root, err := l.Lookup(t.Context(), "."); err != nil || root.Name != "." || root.Type != layer.Directory {
		t.Errorf("root = %+v, %v", root, err)
	}
	if diff := cmp.Diff([]string{"d/", "d/inner", "d/up", "file", "link"}, walk(t, l, ".")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if same, err := l.Lookup(t.Context(), "file"); err != nil || !cmp.Equal(same, got, cmp.AllowUnexported(layer.Entry{})) {
		t.Errorf("Lookup after ReadDir = %+v, %v", same, err)
	}
}

func TestNeverLeavesTheContext(t *testing.T) {
	outside := plant(t, map[string]string{"secret": "s3cret"})
	dir := plant(t, map[string]string{"d": "-> " + outside, "f": "-> " + outside + "/secret", "up": "-> ../..", "real/x": "x"})
	for _, name := range []string{"d/secret", "up/etc", "../x", "/etc/passwd", "real/../real/x", "", "real/x/y", "nowhere/x"} {
		for _, warm := range []bool{false, true} {
			l := open(t, dir, nil, nil)
			if warm {
				walk(t, l, ".")
			}
			if e, err := l.Lookup(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Lookup(%q) = %+v, %v; want a file that does not exist", name, e, err)
			}
			if _, err := l.ReadDir(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ReadDir(%q): %v; want a file that does not exist", name, err)
			}
		}
	}
	l := open(t, dir, nil, nil)
	if _, err := l.Open(t.Context(), layer.Entry{Name: "f", Type: layer.Regular, Size: 6}); err == nil {
		t.Error("a link was opened as the file it leads to")
	}
	if _, err := l.ReadDir(t.Context(), "d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link to a directory was read as one: %v", err)
	}
}

func TestNoticesSwaps(t *testing.T) {
	outside := plant(t, map[string]string{"x": "12345"})
	tests := []struct {
		name string
		swap func(file string) error
		want string
	}{
		{"shorter", func(f string) error { return os.WriteFile(f, []byte("1234"), 0o644) }, "d/x in the build context changed while it was being read"},
		{"same size, other time", func(f string) error { return os.Chtimes(f, time.Unix(1, 0), time.Unix(1, 0)) }, "d/x in the build context changed"},
		{"removed", os.Remove, "d/x in the build context: no such file"},
		{"a link", func(f string) error {
			return errors.Join(os.Remove(f), os.Symlink(filepath.Join(outside, "x"), f))
		}, "d/x in the build context"},
		{"a link above", func(f string) error {
			return errors.Join(os.RemoveAll(filepath.Dir(f)), os.Symlink(outside, filepath.Dir(f)))
		}, "d/x in the build context"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := plant(t, map[string]string{"d/x": "12345"})
			l := open(t, dir, nil, nil)
			e, err := l.Lookup(t.Context(), "d/x")
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.swap(filepath.Join(dir, "d", "x")); err != nil {
				t.Fatal(err)
			}
			_, err = readAll(t.Context(), l, e)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("reading: %v; want %q", err, tt.want)
			}
			if _, err := l.Digest(t.Context(), e); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("hashing: %v; want %q", err, tt.want)
			}
		})
	}
}

func TestNoticesChangesWhileReading(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"shrinks": func(f string) error { return os.Truncate(f, 20) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := plant(t, map[string]string{"x": strings.Repeat("a", 200)})
			l := open(t, dir, nil, nil)
			e, err := l.Lookup(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.Open(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			if err := change(filepath.Join(dir, "x")); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err == nil || !strings.Contains(err.Error(), "x in the build context changed") || n > 190 {
				t.Errorf("read %d more bytes, %v", n, err)
			}
		})
	}
}

func readAll(ctx context.Context, l *Dir, e layer.Entry) (string, error) {
	r, err := l.Open(ctx, e)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func TestDigests(t *testing.T) {
	dir := plant(t, map[string]string{"a": "one", "b/c": "two", "empty": "", "l": "-> a"})
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b", "a2")); err != nil {
		t.Skip("no hard links here: ", err)
	}
	l := open(t, dir, nil, nil)
	var entries []layer.Entry
	for _, name := range []string{"a", "b", "b/a2", "b/c", "empty", "l"} {
		e, err := l.Lookup(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	got, err := l.Digests(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	one := digest.FromString("one")
	want := []digest.Digest{one, "", one, digest.FromString("two"), digest.FromString(""), ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	if entries[0].Inode == "" || entries[0].Inode != entries[2].Inode || entries[3].Inode != "" {
		t.Errorf("inodes %q, %q, %q", entries[0].Inode, entries[2].Inode, entries[3].Inode)
	}
	if e, _ := l.Lookup(t.Context(), "b/c"); e.Digest != want[3] {
		t.Errorf("a digest is not remembered within a build: %+v", e)
	}
	for i, e := range entries {
		if e.Type != layer.Regular {
			continue
		}
		if s, err := readAll(t.Context(), l, e); err != nil || digest.FromString(s) != want[i] {
			t.Errorf("%s holds %q, %v", e.Name, s, err)
		}
	}
}

func TestStops(t *testing.T) {
	dir := plant(t, map[string]string{"a": "one"})
	l := open(t, dir, nil, nil)
	e, err := l.Lookup(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := l.ReadDir(ctx, ".")
	_, err2 := l.Digests(ctx, []layer.Entry{e})
	_, err3 := l.Open(ctx, e)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v; want context canceled", err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := plant(t, map[string]string{"file": ""})
	for _, d := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "file")} {
		if l, err := Open(d, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "build context "+d+": ") {
			t.Errorf("Open(%s) = %v, %v", d, l, err)
		}
	}
}
