package solve

import (
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// Two steps that change nothing make the same layer; an overlay cannot have it twice.
func TestDistinctKeepsTheUppermost(t *testing.T) {
	of := func(names string) []Layer {
		var out []Layer
		for _, n := range names {
			out = append(out, Layer{Layer: &layer.Layer{DiffID: digest.FromString(string(n))}})
		}
		return out
	}
	for have, want := range map[string]string{"": "", "abc": "abc", "baa": "ba", "aba": "ba", "abcab": "cab"} {
		if got := diffIDs(distinct(of(have))); !slices.Equal(got, diffIDs(of(want))) {
			t.Errorf("%q became %d layers, want %q", have, len(got), want)
		}
	}
}

func TestSecretThatIsNotGivenIsAnEmptyVariable(t *testing.T) {
	j := &execJob{
		s:  &Solver{Secret: func(id string) ([]byte, bool, error) { return []byte("hush"), id == "given", nil }},
		op: &graph.Exec{Env: []string{"A=1"}, SecretEnv: []graph.SecretEnv{{ID: "given", Name: "X"}, {ID: "absent", Name: "Y", Optional: true}}},
	}
	got, err := j.env()
	if want := []string{"A=1", defaultPath, "X=hush", "Y="}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	j.op.SecretEnv[1].Optional = false
	if _, err := j.env(); err == nil {
		t.Error("a required secret may be missing")
	}
}
