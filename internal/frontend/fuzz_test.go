package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// dockerfiles are those of the conformance cases.
func dockerfiles(f *testing.F) []string {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "conformance", "cases", "*", "*.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := strings.Cut("\n"+string(data), "\n-- Dockerfile --\n")
		dockerfile, _, _ := strings.Cut(rest, "\n-- ")
		out = append(out, dockerfile+"\n")
	}
	return out
}

// trigger resolves every image to one with this trigger, or none.
type trigger string

func (s trigger) ResolveImage(_ context.Context, ref string, p ocispec.Platform) (digest.Digest, []byte, error) {
	config := strings.Replace(baseConfig, "amd64", p.Architecture, 1)
	if s != "" {
		triggers, err := json.Marshal([]string{string(s)})
		if err != nil {
			return "", nil, err
		}
		config = strings.Replace(config, `"Cmd"`, `"OnBuild":`+string(triggers)+`,"Cmd"`, 1)
	}
	return digest.FromString(ref), []byte(config), nil
}

// FuzzConvert looks for a Dockerfile that the frontend does not survive, or a
// graph of one that makes no sense.
func FuzzConvert(f *testing.F) {
	for _, d := range append(dockerfiles(f), "# syntax=docker/dockerfile:9\nFROM scratch\n") {
		f.Add(d, "")
	}
	for _, t := range []string{"RUN --mount=type=secret,id=$A x", "ARG A=1", "COPY <<E /\n$A\nE\n", "RUN <<E\nx\nE\n", "# check=skip=all\nADD http://x/y /"} {
		f.Add("FROM base AS one\nARG A\nFROM one AS two\n", t)
	}
	f.Fuzz(func(t *testing.T, dockerfile, onBuild string) {
		hangs := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("it takes too long: %q", dockerfile)) })
		defer hangs.Stop()
		o, _ := options(dockerfile)
		o.Images, o.NoCache = trigger(onBuild), []string{"one"}
		o.Warn = func(Warning) {}
		o.Modified = func(context.Context, graph.Op) (time.Time, error) { return time.Time{}, nil }
		for _, target := range []string{"two", ""} {
			o.Target = target
			res, err := Convert(context.Background(), o)
			if (err == nil) == (res == nil) {
				t.Fatalf("%v and %v", res, err)
			}
			if err == nil {
				checkOrder(t, res.Graph)
			}
		}
		_, _ = Check(context.Background(), o)
		_, _ = Outline(context.Background(), o)
		_, _ = Targets(context.Background(), o)
	})
}

// checkOrder wants inputs to be steps of the graph, before those that use them.
func checkOrder(t *testing.T, g *graph.Graph) {
	t.Helper()
	seen := map[*graph.Step]bool{}
	for _, s := range g.Steps {
		for _, in := range s.Inputs {
			if !seen[in.Step] {
				t.Fatalf("an input of %q is no step before it", s.Name)
			}
		}
		seen[s] = true
		_ = s.Source.Excerpt()
	}
	if g.Result.Step != nil && !seen[g.Result.Step] {
		t.Fatalf("the result is none of the steps")
	}
}
