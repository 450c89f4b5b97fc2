package solve

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/source/local"
	"github.com/ocibuild/ocibuild/layer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unreachable is a registry that must not be asked.
type unreachable struct{ t *testing.T }

func (u unreachable) Fetch(context.Context, ocispec.Descriptor, int64) (io.ReadCloser, error) {
	u.t.Error("a layer of the base was fetched")
	return nil, errors.New("unreachable")
}

// fixture is a solver over a store of its own, a directory and one base image.
type fixture struct {
	*Solver
	t    *testing.T
	dir  string
	base *layer.Layer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	d, err := cache.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, dir: t.TempDir()}
	store := &faces.Store{Dir: d}
	f.base = store.Remote(cache.Layer{
		DiffID: digest.FromString("base"), Digest: digest.FromString("blob"), Size: 4, MediaType: ocispec.MediaTypeImageLayerGzip, Origin: "reg.example/base",
	}, unreachable{t})
	f.Solver = f.solver(store)
	return f
}

func (f *fixture) solver(store *faces.Store) *Solver {
	return &Solver{
		Faces: store, Now: time.Unix(1000, 0),
		Image: func(context.Context, string, ocispec.Platform) (*source.Image, error) {
			return &source.Image{Digest: digest.FromString("manifest"), Layers: []*layer.Layer{f.base}}, nil
		},
		Layer: func(l cache.Layer) (*layer.Layer, error) {
			if !store.Has(l) {
				return nil, errors.New("gone")
			}
			return store.Local(l), nil
		},
		Local: func(op *graph.Local) (*local.Dir, error) {
			return local.Open(f.dir, op.Exclude, op.Include, nil)
		},
	}
}

func (f *fixture) write(name, data string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(data), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// solve solves a state with a fresh solver on the same store.
func (f *fixture) solve(st llb.State) ([]Layer, error) {
	f.t.Helper()
	def, err := st.Marshal(f.t.Context(), llb.LinuxAmd64)
	if err != nil {
		f.t.Fatal(err)
	}
	g, err := graph.Decode(def.ToPB())
	if err != nil {
		f.t.Fatal(err)
	}
	s := f.solver(f.Faces)
	out, err := s.Solve(f.t.Context(), g)
	if werr := s.Wait(); err == nil {
		err = werr
	}
	return out[0], err
}

func (f *fixture) mustSolve(st llb.State) []Layer {
	f.t.Helper()
	out, err := f.solve(st)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func diffIDs(ls []Layer) []digest.Digest {
	var out []digest.Digest
	for _, l := range ls {
		out = append(out, l.DiffID)
	}
	return out
}

func names(t *testing.T, ls []Layer) []string {
	t.Helper()
	entries, err := layer.NewView(plainLayers(ls)).ReadDir(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name)
	}
	return out
}

var (
	base = llb.Image("reg.example/base:1@" + digest.FromString("manifest").String())
	here = llb.Local("context")
)

func TestLinkedCopyNeverTouchesTheBase(t *testing.T) {
	f := newFixture(t)
	f.write("a", "1")
	linked := llb.Merge([]llb.State{base, llb.Scratch().File(llb.Copy(here, "/a", "/a"))})
	for range 2 { // the first time, and answered by the cache
		out := f.mustSolve(linked)
		if len(out) != 2 || out[0].DiffID != f.base.DiffID {
			t.Errorf("layers %v", diffIDs(out))
		}
		if got := names(t, out[1:]); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the new layer holds %v", got)
		}
	}
}

func TestRecordOfBaseLayersKeepsTheirOrigin(t *testing.T) {
	f := newFixture(t)
	f.write("a", "1")
	out := f.mustSolve(llb.Merge([]llb.State{base, llb.Scratch().File(llb.Copy(here, "/a", "/a"))}))
	if got := Origin(out[0].Layer); got != "reg.example/base" {
		t.Errorf("origin %q", got)
	}
	if !out[0].Created.IsZero() || out[1].Created.IsZero() {
		t.Errorf("times %v, %v", out[0].Created, out[1].Created)
	}
}

func TestLostBlobsAreMadeAgain(t *testing.T) {
	f := newFixture(t)
	f.write("a", "1")
	st := llb.Scratch().File(llb.Copy(here, "/a", "/a"))
	first := f.mustSolve(st)
	d, err := first[0].Descriptor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Faces.Dir.RemoveBlob(d.Digest); err != nil {
		t.Fatal(err)
	}
	again := f.mustSolve(st)
	if !slices.Equal(diffIDs(first), diffIDs(again)) {
		t.Errorf("layers %v, then %v", diffIDs(first), diffIDs(again))
	}
	if _, ok := f.Faces.Dir.HasBlob(d.Digest); !ok {
		t.Error("the blob was not made again")
	}
}

func TestDiffIsWhatTheUpperInputAdds(t *testing.T) {
	f := newFixture(t)
	f.write("a", "1")
	f.write("b", "2")
	lower := llb.Scratch().File(llb.Copy(here, "/a", "/a"))
	upper := lower.File(llb.Copy(here, "/b", "/b"))
	if got := names(t, f.mustSolve(llb.Diff(lower, upper))); !slices.Equal(got, []string{"b"}) {
		t.Errorf("the difference holds %v", got)
	}
	if got := f.mustSolve(llb.Diff(upper, lower)); len(got) != 1 {
		t.Errorf("what was taken away is in %d layers", len(got))
	}
}

func TestActionsOfOneOperationMakeOneLayer(t *testing.T) {
	f := newFixture(t)
	f.write("a", "1")
	out := f.mustSolve(llb.Scratch().File(
		llb.Mkdir("/d", 0o755).Copy(here, "/a", "/d/a").Mkfile("/d/b", 0o600, []byte("2")).Rm("/d/a").Symlink("b", "/d/c")))
	if len(out) != 1 {
		t.Fatalf("%d layers", len(out))
	}
	entries, err := layer.NewView(plainLayers(out)).ReadDir(t.Context(), "d")
	if err != nil || len(entries) != 2 || entries[0].Name != "d/b" || entries[1].Linkname != "b" {
		t.Errorf("entries %v, %v", entries, err)
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	f := newFixture(t)
	for name, st := range map[string]llb.State{
		"missing file":   llb.Scratch().File(llb.Copy(here, "/nope", "/")),
		"insecure":       llb.Scratch().Run(llb.Shlex("x"), llb.Security(llb.SecurityModeInsecure)).Root(),
		"device":         llb.Scratch().Run(llb.Shlex("x"), llb.AddCDIDevice(llb.CDIDeviceName("v.example/gpu"))).Root(),
		"other platform": llb.Image("x", llb.Platform(ocispec.Platform{OS: "plan9", Architecture: "mips"})).Run(llb.Shlex("x")).Root(),
	} {
		if _, err := f.solve(st); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
