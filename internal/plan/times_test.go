package plan

import (
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// A directory has the time of the last change in it, as on a file system; what is copied has the time of its source.
func TestTimesOfDirectories(t *testing.T) {
	const before, now, chosen = 5, 2000, 3000
	copyTo := func(src, dest string, change func(*graph.Copy)) func(*Tree) error {
		op := dockerfileCopy(src, dest)
		if change != nil {
			change(op)
		}
		return func(tr *Tree) error {
			return tr.Copy(ctx, tree(t, "s/ 755 0:0", "s/f=1", "s/in/ 755 0:0", "s/in/g=2"), op, nil)
		}
	}
	epoch := func(op *graph.Copy) { op.Timestamp = chosen * 1e9 }
	for name, tc := range map[string]struct {
		do   func(*Tree) error
		want map[string]int64
	}{
		"new file":                {copyTo("/s/f", "/d/new", nil), map[string]int64{"d": now, "d/e": before}},
		"file in place":           {copyTo("/s/f", "/d/e/f", nil), map[string]int64{"d": before, "d/e": now}},
		"new file of an epoch":    {copyTo("/s/f", "/d/new", epoch), map[string]int64{"d": chosen}},
		"made on the way":         {copyTo("/s/f", "/d/new/f", nil), map[string]int64{"d": now, "d/new": now}},
		"contents of a directory": {copyTo("/s", "/d/e", nil), map[string]int64{"d": before, "d/e": before, "d/e/in": before}},
		"only what is included": {
			copyTo("/", "/d", func(op *graph.Copy) { op.Include = []string{"s/in/g"} }),
			map[string]int64{"d/s": now, "d/s/in": now},
		},
		"link": {func(tr *Tree) error {
			return tr.Symlink(ctx, &graph.Symlink{Old: "x", New: "/d/l", Timestamp: -1}, nil)
		}, map[string]int64{"d": now}},
		"directory": {func(tr *Tree) error {
			return tr.Mkdir(ctx, &graph.Mkdir{Path: "/d/m", Mode: 0o755, Timestamp: -1}, nil)
		}, map[string]int64{"d": now, "d/m": now}},
		"removal": {func(tr *Tree) error { return tr.Remove(ctx, &graph.Remove{Path: "/d/e"}) }, map[string]int64{"d": now}},
		"root":    {copyTo("/s/f", "/f", nil), map[string]int64{".": now, "d": before}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New(tree(t, "d/ 755 0:0", "d/e/ 755 0:0", "d/e/f=0"), Options{Now: time.Unix(now, 0)})
			must(t, tc.do(tr))
			for name, want := range tc.want {
				if e, err := tr.Lookup(ctx, name); err != nil || e.ModTime != want {
					t.Errorf("/%s: %d, want %d (%v)", name, e.ModTime, want, err)
				}
			}
		})
	}
}

// What nothing gives a time is as old as the build, the root of a context for one.
func TestTimeOfARoot(t *testing.T) {
	src := tree(t, "f=1")
	root := layer.Entry{Name: ".", Type: layer.Directory, Mode: 0o755}
	if _, err := src.put(t.Context(), root, content{}); err != nil {
		t.Fatal(err)
	}
	tr := New(nil, Options{Now: time.Unix(2000, 0)})
	must(t, tr.Copy(ctx, src, dockerfileCopy("/", "/x"), nil))
	if e, err := tr.Lookup(ctx, "x"); err != nil || e.ModTime != 2000 {
		t.Errorf("%d (%v)", e.ModTime, err)
	}
}
