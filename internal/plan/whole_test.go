package plan

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// A directory that is copied as a whole is as one that is copied file by file, in
// whatever is planned before and after.
func TestWholeDirectoriesAreAsTheirFiles(t *testing.T) {
	wholes := 0
	for seed := range uint64(3000) {
		var said [2]string
		for i, whole := range []bool{true, false} {
			r := rand.New(rand.NewPCG(seed, 8))
			tr := randomPlan(t, r, whole)
			if whole {
				wholes += countWholes(tr.root)
			}
			said[i] = listing(t, tr, ".") + "changes:\n" + changes(t, tr)
			tr.clearLinks()
			d, err := tr.Digest(ctx)
			must(t, err)
			said[i] += d.String()
		}
		if said[0] != said[1] {
			t.Fatalf("seed %d: as a whole:\n%s\n\nfile by file:\n%s", seed, said[0], said[1])
		}
	}
	if wholes < 1000 {
		t.Errorf("only %d directories were copied as a whole", wholes)
	}
}

func countWholes(n *node) int {
	count := 0
	if n.whole != nil {
		count++
	}
	for _, c := range n.children {
		count += countWholes(c)
	}
	return count
}

// randomPlan copies, makes and removes a few things in a small tree.
func randomPlan(t *testing.T, r *rand.Rand, whole bool) *Tree {
	t.Helper()
	names := []string{"a", "b", "a/c", "b/c", "a/c/d", "e/f"}
	pick := func() string { return names[r.IntN(len(names))] }
	source := func() *Tree {
		out := New(nil, Options{})
		for range 4 + r.IntN(8) {
			name := path.Join(pick(), fmt.Sprint("f", r.IntN(4)))
			must(t, out.mkdirAll(ctx, path.Dir(name), 0o755, nil, nil))
			must(t, out.Mkfile(ctx, &graph.Mkfile{Path: name, Mode: 0o644, Data: []byte("same"), Timestamp: int64(r.IntN(2)) * 1e9}, nil))
			if r.IntN(3) == 0 {
				nodeOf(t, out, name).change(func(e *layer.Entry) { e.Inode = "one" })
			}
		}
		return out
	}
	var base layer.Tree
	if r.IntN(3) > 0 {
		base = source()
	}
	tr := New(base, Options{Now: time.Unix(3, 0)})
	for range 1 + r.IntN(4) {
		name := "/" + pick()
		switch r.IntN(5) {
		case 0:
			_ = tr.Remove(ctx, &graph.Remove{Path: name, AllowNotFound: true})
		case 1:
			_ = tr.Mkfile(ctx, &graph.Mkfile{Path: name + "/f1", Mode: 0o600, Data: []byte("other"), Timestamp: 5e9}, nil)
		default:
			op := dockerfileCopy("/"+[]string{"", "a", "b", "a/c"}[r.IntN(4)], name)
			if r.IntN(2) == 0 {
				op.Dest = "/"
			}
			op.DirContents = r.IntN(2) == 0
			if !whole {
				op.Required = []string{"/"} // nothing that is not there
			}
			from := source()
			if r.IntN(3) == 0 {
				over := New(from, Options{})
				must(t, over.Copy(ctx, source(), dockerfileCopy("/", "/new"), nil))
				from = over
			}
			var own *Owner
			if r.IntN(2) == 0 {
				own = &Owner{UID: 7, GID: 8}
			}
			_ = tr.Copy(ctx, from, op, own)
		}
	}
	return tr
}

// listing is what a tree holds, by name, by directory and by content.
func listing(t *testing.T, tr layer.Tree, dir string) string {
	t.Helper()
	entries, err := tr.ReadDir(ctx, dir)
	must(t, err)
	var b strings.Builder
	for _, e := range entries {
		found, err := tr.Lookup(ctx, e.Name)
		must(t, err)
		found.Inode = e.Inode
		if fmt.Sprint(found) != fmt.Sprint(e) {
			t.Errorf("%v by name, %v in its directory", found, e)
		}
		fmt.Fprintf(&b, "%d ", e.ModTime)
		if e.Type == layer.Regular {
			b.WriteString(show(t, e, content{tree: tr, from: e.Name}))
			continue
		}
		b.WriteString(show(t, e, content{}))
		b.WriteString(listing(t, tr, e.Name))
	}
	return b.String()
}
