package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// tree lists a whole view: "name type content", directories with their mode.
func tree(t testing.TB, v *View) string {
	t.Helper()
	var b strings.Builder
	walk(t, v, ".", &b)
	return strings.TrimSpace(b.String())
}

func walk(t testing.TB, v *View, name string, b *strings.Builder) {
	t.Helper()
	ctx := context.Background()
	list, err := v.ReadDir(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		again, err := v.Lookup(ctx, e.Name)
		if d := cmp.Diff(e, again, cmp.AllowUnexported(Entry{}), cmp.Comparer(func(a, b *Layer) bool { return a == b })); err != nil || d != "" {
			t.Errorf("Lookup(%q) differs from ReadDir: %v\n%s", e.Name, err, d)
		}
		switch e.Type {
		case Regular:
			fmt.Fprintf(b, "%s=%s%s\n", e.Name, text(t, v, e), mark(e.Inode))
		case Symlink:
			fmt.Fprintf(b, "%s->%s%s\n", e.Name, e.Linkname, mark(e.Inode))
		case Directory:
			fmt.Fprintf(b, "%s/ %o\n", e.Name, e.Mode)
			walk(t, v, e.Name, b)
		default:
			fmt.Fprintf(b, "%s %c\n", e.Name, e.Type)
		}
	}
}

func mark(inode string) string {
	if inode == "" {
		return ""
	}
	return " #" + inode
}

func text(t testing.TB, v *View, e Entry) string {
	t.Helper()
	r, err := v.Open(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func private(name string) item {
	d := dir(name)
	d.Mode = 0o700
	return d
}

func TestViewMerges(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]item
		want   string
	}{
		{"nothing", nil, ""},
		{"upper file wins", [][]item{{reg("a", "1")}, {reg("a", "2")}}, "a=2"},
		{"directories merge", [][]item{{dir("d"), reg("d/a", "1")}, {private("d"), reg("d/b", "2")}}, "d/ 700\nd/a=1\nd/b=2"},
		{"implied directory", [][]item{{reg("x/y/z", "1")}}, "x/ 755\nx/y/ 755\nx/y/z=1"},
		{"implied directory keeps what is known below", [][]item{{private("d")}, {reg("d/a", "1")}}, "d/ 700\nd/a=1"},
		{"implied directory over a file", [][]item{{reg("d", "1")}, {reg("d/a", "2")}}, "d/ 755\nd/a=2"},
		{"implied directory over a whiteout", [][]item{{private("d"), reg("d/old", "1")}, {wh("d")}, {reg("d/a", "2")}}, "d/ 755\nd/a=2"},
		{"whiteout of a file", [][]item{{reg("a", "1"), reg("b", "1")}, {wh("a")}}, "b=1"},
		{"whiteout of a directory", [][]item{{dir("d"), reg("d/a", "1")}, {wh("d")}}, ""},
		{"whiteout and back again", [][]item{{reg("a", "1")}, {wh("a")}, {reg("a", "3")}}, "a=3"},
		{"whiteout hides lower layers only", [][]item{{reg("a", "1")}, {wh("a"), reg("a", "2")}}, "a=2"},
		{"whiteout after the file it stands beside", [][]item{{reg("a", "1")}, {reg("a", "2"), wh("a")}}, "a=2"},
		{"whiteout beside its directory", [][]item{{dir("d"), reg("d/old", "1")}, {wh("d"), private("d"), reg("d/new", "2")}}, "d/ 700\nd/new=2"},
		{"whiteout beside what implies its directory", [][]item{{private("d"), reg("d/old", "1")}, {wh("d"), reg("d/new", "2")}}, "d/ 755\nd/new=2"},
		{"whiteout in a directory", [][]item{{dir("d"), reg("d/a", "1"), reg("d/b", "1")}, {wh("d/a")}}, "d/ 755\nd/b=1"},
		{"opaque directory", [][]item{{dir("d"), reg("d/a", "1"), reg("d/s/t", "1")}, {opaqueDir("d"), reg("d/b", "2")}}, "d/ 755\nd/b=2"},
		{"opaque directory, upper layer adds", [][]item{{dir("d"), reg("d/a", "1")}, {opaqueDir("d")}, {reg("d/c", "3")}}, "d/ 755\nd/c=3"},
		{"opaque parent hides deep", [][]item{{reg("d/s/t", "1"), reg("o", "1")}, {opaqueDir("d")}, {reg("d/s/u", "3")}}, "d/ 755\nd/s/ 755\nd/s/u=3\no=1"},
		{"opaque root", [][]item{{reg("a", "1")}, {opaqueDir("."), reg("b", "2")}}, "b=2"},
		{"file in place of a directory", [][]item{{dir("d"), reg("d/a", "1")}, {reg("d", "2")}}, "d=2"},
		{"file in place of a directory, and back", [][]item{{dir("d"), reg("d/a", "1")}, {reg("d", "2")}, {dir("d"), reg("d/b", "3")}}, "d/ 755\nd/b=3"},
		{"symlink in place of a directory", [][]item{{dir("d"), reg("d/a", "1")}, {sym("d", "e")}}, "d->e"},
		{"directory in place of a symlink", [][]item{{sym("d", "e"), reg("e/x", "1")}, {dir("d"), reg("d/a", "2")}}, "d/ 755\nd/a=2\ne/ 755\ne/x=1"},
		{"names that share a start", [][]item{{reg("a/b", "1"), reg("a-b", "2"), reg("a.b", "3"), reg("ab", "4")}, {wh("a")}}, "a-b=2\na.b=3\nab=4"},
		{"hard links", [][]item{{reg("a", "1"), hard("b", "a"), hard("c", "b"), reg("d", "1")}}, "a=1 #0:a\nb=1 #0:a\nc=1 #0:a\nd=1"},
		{"hard link to a symlink", [][]item{{sym("a", "x"), hard("b", "a")}}, "a->x #0:a\nb->x #0:a"},
		{"hard link into a lower layer", [][]item{{reg("a", "1")}, {hard("b", "a")}}, "a=1 #0:a\nb=1 #0:a"},
		{"hard link over three layers", [][]item{{reg("a", "1")}, {hard("b", "a")}, {hard("c", "b")}}, "a=1 #0:a\nb=1 #0:a\nc=1 #0:a"},
		{"hard link through a symlink", [][]item{{reg("u/a", "1"), sym("l", "u")}, {hard("b", "l/a")}}, "b=1\nl->u\nu/ 755\nu/a=1"},
		{"hard link outlives its target", [][]item{{reg("a", "1"), hard("b", "a")}, {wh("a")}}, "b=1 #0:a"},
		{"hard link keeps the old content", [][]item{{reg("a", "1"), hard("b", "a")}, {reg("a", "2")}}, "a=2\nb=1 #0:a"},
		{"directory in place of a file of its layer", [][]item{{reg("a/x", "1")}, {reg("a", "1"), dir("a"), reg("a/b", "2")}}, "a/ 755\na/b=2"},
		{"hard link keeps what its target was", [][]item{{reg("a", "1"), hard("b", "a"), hard("c", "a"), reg("a", "2")}}, "a=2\nb=1 #0:b\nc=1 #0:b"},
		{"hard link before its target leads below", [][]item{{reg("a", "1")}, {hard("b", "a"), reg("a", "2")}}, "a=2\nb=1 #0:a"},
		{"hard link to what its layer removes", [][]item{{reg("a", "1")}, {hard("b", "a"), wh("a")}}, "b=1 #0:a"},
		{"file above a file, later", [][]item{{reg("a/b", "2"), reg("a", "1")}}, "a=1"},
		{"through a symlink of the same layer", [][]item{{dir("usr/bin"), sym("bin", "usr/bin"), reg("bin/sh", "1")}}, "bin->usr/bin\nusr/ 755\nusr/bin/ 755\nusr/bin/sh=1"},
		{"last of one name", [][]item{{reg("a", "1"), dir("a"), reg("a", "3")}}, "a=3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, tree(t, viewOf(t, tt.layers...))); d != "" {
				t.Errorf("tree differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestViewErrors(t *testing.T) {
	ctx := context.Background()
	v := viewOf(t, []item{dir("d"), reg("f", "1"), reg("d/a", "1")}, []item{hard("broken", "no/such"), sym("l", "d"), wh("d/a")})
	for _, name := range []string{"no", "d/a", "f/x", "l/a", "d/a/b", "no/such", "/", "/d", "d/", "d//a", "../d"} {
		if e, err := v.Lookup(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%q) = %v, %v; want not exist", name, e, err)
		}
		if e, err := v.ReadDir(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadDir(%q) = %v, %v; want not exist", name, e, err)
		}
	}
	for _, name := range []string{"f", "l"} {
		if _, err := v.ReadDir(ctx, name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadDir(%q) of no directory: %v", name, err)
		}
	}
	if _, err := v.Lookup(ctx, "broken"); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `"no/such"`) {
		t.Errorf("broken hard link: %v", err)
	}
	if _, err := v.Open(ctx, Entry{Name: "d", Type: Directory}); err == nil {
		t.Error("a directory was opened")
	}
}

// TestViewReadsNoMore checks that layers below the answer stay unread.
func TestViewReadsNoMore(t *testing.T) {
	reads := make([]int, 3)
	var layers []*Layer
	for i, items := range [][]item{{reg("a", "1")}, {reg("b", "2"), opaqueDir("d")}, {reg("c", "3"), wh("e")}} {
		layers = append(layers, write(t, WriterOptions{}, items...).layer(&reads[i]))
	}
	v, ctx := NewView(layers), context.Background()
	steps := []struct {
		name string
		want []int
	}{{"c", []int{0, 0, 1}}, {"e/x", []int{0, 0, 1}}, {"b", []int{0, 1, 1}}, {"d/x", []int{0, 1, 1}}, {"a", []int{1, 1, 1}}}
	for _, s := range steps {
		_, _ = v.Lookup(ctx, s.name)
		if d := cmp.Diff(s.want, reads); d != "" {
			t.Errorf("after Lookup(%q): %s", s.name, d)
		}
	}
}

func TestViewDigest(t *testing.T) {
	v, ctx := viewOf(t, []item{reg("a", "hello")}), context.Background()
	e, err := v.Lookup(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	want := digest.FromString("hello")
	for _, known := range []digest.Digest{e.Digest, ""} {
		e.Digest = known
		if got, err := v.Digest(ctx, e); got != want || err != nil {
			t.Errorf("Digest with %q known = %s, %v; want %s", known, got, err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	v := viewOf(t, []item{
		reg("usr/bin/sh", ""), sym("bin", "usr/bin"), sym("abs", "/usr/bin"), sym("up", "../../../usr"),
		sym("loop", "loop"), sym("ping", "pong"), sym("pong", "ping"), sym("usr/self", "."), sym("gone", "no/where"), sym("chain", "abs/../self/bin"),
	})
	tests := []struct {
		name   string
		follow bool
		want   string
	}{
		{"", true, "."}, {"/", true, "."}, {"..", true, "."}, {"a/../../b", true, "b"},
		{"bin/sh", true, "usr/bin/sh"}, {"bin", true, "usr/bin"}, {"bin", false, "bin"}, {"bin/", false, "bin"}, {"bin/.", true, "usr/bin"},
		{"/abs/sh", true, "usr/bin/sh"}, {"up/bin", true, "usr/bin"}, {"usr/self/self/bin", true, "usr/bin"},
		{"gone/x", true, "no/where/x"}, {"gone", true, "no/where"}, {"gone", false, "gone"}, {"new/dir/file", true, "new/dir/file"},
		{"bin/../new", true, "usr/new"}, {"chain/sh", true, "usr/bin/sh"}, {"loop", false, "loop"}, {"usr/bin/sh/x", true, "usr/bin/sh/x"},
	}
	for _, tt := range tests {
		if got, err := Resolve(context.Background(), v, tt.name, tt.follow); got != tt.want || err != nil {
			t.Errorf("Resolve(%q, %v) = %q, %v; want %q", tt.name, tt.follow, got, err, tt.want)
		}
	}
	for _, name := range []string{"loop", "ping/x"} {
		if _, err := Resolve(context.Background(), v, name, true); err == nil || !strings.Contains(err.Error(), "too many levels of symbolic links") {
			t.Errorf("Resolve(%q): %v", name, err)
		}
	}
}
