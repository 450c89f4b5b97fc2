package kept

import (
	"archive/tar"
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// Files with several names: each is written as an overlay would write it, and the
// tree that goes on has the links that its layers have.
func TestHardLinks(t *testing.T) {
	base := []tar.Header{
		file("a", "same"), hardlink("b", "a"), hardlink("c", "a"), file("lone", "l"),
	}
	tests := map[string]struct {
		script string
		want   []string // name, type and target
	}{
		"a new name":           {"ln lone new", []string{"lone 0", "new 1 lone"}},
		"two new names":        {"ln lone new; ln lone newer", []string{"lone 0", "new 1 lone", "newer 1 lone"}},
		"a name before it":     {"ln lone early", []string{"early 0", "lone 1 early"}},
		"of several names":     {"ln a new", []string{"a 0", "new 1 a"}},
		"several, one moved":   {"mv b moved", []string{"b w", "moved 0"}},
		"over an equal file":   {"cp -p lone x; mv x lone; ln lone new", []string{"lone 0", "new 1 lone"}},
		"of a changed file":    {"echo >>lone; ln lone new", []string{"lone 0", "new 1 lone"}},
		"new files":            {"echo >x; ln x y", []string{"x 0", "y 1 x"}},
		"a name goes":          {"rm b", []string{"b w"}},
		"all are changed":      {"chown 5 a b c", []string{"a 0", "b 0", "c 0"}},
		"changed, and one new": {"chown 5 a b c; ln a new", []string{"a 0", "b 0", "c 0", "new 1 a"}},
		"one is replaced":      {"echo >x; mv x b", []string{"b 0"}},
		"made anew":            {"rm a b c; echo >a; ln a b", []string{"a 0", "b 1 a", "c w"}},
		"of one that goes":     {"ln lone new; rm lone", []string{"lone w", "new 0"}},
		"nothing in the end":   {"ln lone new; rm new; chmod 700 a; chmod 755 a", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			layers := []snapshot.Layer{h.layer(base...)}
			s := h.begin(layers...)
			cmd := exec.Command("sh", "-ec", tt.script)
			cmd.Dir = s.Root()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			l, err := h.faces.Create(context.Background(), faces.CreateOptions{}, func(w *layer.Writer) error { return s.Diff(context.Background(), w) })
			h.must(err)
			toc, err := l.TOC(context.Background())
			h.must(err)
			var got []string
			for e := range toc.All() {
				text := e.Name + " " + string(e.Type)
				if e.Linkname != "" {
					text += " " + e.Linkname
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			_, err = s.Adopt(l.DiffID)
			h.must(err)
			b, err := l.Blob(context.Background())
			h.must(err)
			layers = append(layers, snapshot.Layer{DiffID: l.DiffID, Blob: b.Path, MediaType: b.Descriptor.MediaType})
			s = h.prepare(layers...)
			is := h.listing(s.Root())
			h.must(s.Close())
			h.must(os.RemoveAll(h.m.trees))
			h.must(os.Mkdir(h.m.trees, 0o700))
			s = h.prepare(layers...)
			if diff := cmp.Diff(h.listing(s.Root()), is); diff != "" {
				t.Errorf("the tree is not what its layers are (-unpacked +kept)\n%s", diff)
			}
			h.must(s.Close())
		})
	}
}

// A hard link to what is in a cache mount must not tie the image to the cache.
func TestHardLinkIntoACache(t *testing.T) {
	h := newHouse(t)
	base := h.layer(folder("d/"))
	cache := h.source("")
	h.write(cache+"/f", "as it was")
	s := h.begin(base)
	h.must(s.Put(Put{Source: cache, Target: "/cache", Borrowed: true}))
	h.must(os.Link(s.Root()+"/cache/f", s.Root()+"/d/linked"))
	h.must(s.Restore())
	l, _ := h.commit(s)
	h.write(cache+"/f", "changed!!")
	s = h.prepare(base, l)
	if got := h.read(s.Root() + "/d/linked"); got != "as it was" {
		t.Errorf("%q", got)
	}
	h.must(s.Close())
}
