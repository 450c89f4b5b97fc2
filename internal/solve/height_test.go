package solve

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/ocibuild/ocibuild/internal/graph"
)

func TestGraphsOfTooManyLayersAreRefused(t *testing.T) {
	file := func(on llb.State, name string) llb.State {
		return on.File(llb.Mkfile("/"+name, 0o644, []byte(name)))
	}
	one := file(llb.Scratch(), "a")
	three := file(file(one, "b"), "c")
	for name, tc := range map[string]struct {
		state llb.State
		most  int
	}{
		"on each other":         {three, 3},
		"side by side":          {llb.Merge([]llb.State{three, one}), 4},
		"one step":              {llb.Scratch().File(llb.Mkdir("/a", 0o755).Mkdir("/b", 0o755).Mkdir("/c", 0o755)), 1},
		"copied from":           {one.File(llb.Copy(three, "/a", "/d")), 3},
		"what a command leaves": {file(llb.Image("x").Run(llb.Shlex("true")).Root(), "a"), 2},
		"difference":            {llb.Diff(one, three), 3},
	} {
		t.Run(name, func(t *testing.T) {
			def, err := tc.state.Marshal(t.Context(), llb.LinuxAmd64)
			if err != nil {
				t.Fatal(err)
			}
			g, err := graph.Decode(def.ToPB())
			if err != nil {
				t.Fatal(err)
			}
			if err := (&Solver{MaxLayers: tc.most}).bounded(g); err != nil {
				t.Errorf("%d are allowed: %v", tc.most, err)
			}
			if err := (&Solver{MaxLayers: tc.most - 1}).bounded(g); tc.most > 1 && (err == nil || !strings.Contains(err.Error(), "layers, and an image may have")) {
				t.Errorf("%d are allowed: %v", tc.most-1, err)
			}
			if err := (&Solver{}).bounded(g); err != nil {
				t.Errorf("no bound: %v", err)
			}
		})
	}
}
