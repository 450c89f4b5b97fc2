package frontend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// images knows some images.
type images struct {
	mu    sync.Mutex
	asked []string
}

const baseConfig = `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"],"WorkingDir":"/"},
"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000001"]},
"history":[{"created_by":"base"}]}`

func (i *images) ResolveImage(_ context.Context, ref string, p ocispec.Platform) (digest.Digest, []byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, ref)
	name, _, _ := strings.Cut(strings.TrimPrefix(ref, "docker.io/library/"), ":")
	config := strings.Replace(baseConfig, "amd64", p.Architecture, 1)
	switch name {
	case "base":
	case "arm":
		config = strings.Replace(baseConfig, "amd64", "arm", 1)
	case "nodir":
		config = strings.Replace(config, `,"WorkingDir":"/"`, "", 1)
	default:
		return "", nil, fmt.Errorf("image %q: not found", ref)
	}
	return digest.FromString(ref), []byte(config), nil
}

// options are those of a context that is only this Dockerfile and an ignore file.
func options(dockerfile string) (Options, *images) {
	im := &images{}
	return Options{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Images:   im,
		Files: func(local, name string) ([]byte, error) {
			switch local + "/" + strings.TrimPrefix(name, "/") {
			case "dockerfile/Dockerfile":
				return []byte(dockerfile), nil
			case "context/.dockerignore":
				return []byte("secret\n"), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	}, im
}

func convert(t *testing.T, dockerfile string, change func(*Options)) (*Result, *images, error) {
	t.Helper()
	o, im := options(dockerfile)
	if change != nil {
		change(&o)
	}
	res, err := Convert(context.Background(), o)
	return res, im, err
}

func mustConvert(t *testing.T, dockerfile string, change func(*Options)) *Result {
	t.Helper()
	res, _, err := convert(t, dockerfile, change)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func kinds(g *graph.Graph) []string {
	var out []string
	for _, s := range g.Steps {
		out = append(out, s.Op.Kind())
	}
	return out
}

func TestConvertMakesOneStepOfEachInstruction(t *testing.T) {
	res := mustConvert(t, "FROM base\nWORKDIR /code\nCOPY a b/\nRUN make\nCMD [\"x\"]\n", nil)
	got := kinds(res.Graph)
	slices.Sort(got)
	if want := []string{"exec", "file", "file", "image", "local"}; !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
	if res.Graph.Result.Step.Op.Kind() != "exec" {
		t.Errorf("the result is a %s", res.Graph.Result.Step.Op.Kind())
	}
	if c := res.Image.Config; !slices.Equal(c.Cmd, []string{"x"}) || c.WorkingDir != "/code" {
		t.Errorf("config %+v", c)
	}
	if h := res.Image.History; len(h) != 5 || h[0].CreatedBy != "base" || !h[4].EmptyLayer {
		t.Errorf("history %+v", h)
	}
}

func TestConvertKnowsTheLineOfEachStep(t *testing.T) {
	res := mustConvert(t, "FROM base\n\nRUN one && \\\n    two\n", nil)
	s := res.Graph.Result.Step
	if got := s.Source.String(); got != "Dockerfile:3" {
		t.Errorf("the step stands at %s", got)
	}
	want := "   2 |\n   3 | >>> RUN one && \\\n   4 | >>>     two\n"
	if got := s.Source.Excerpt(); !strings.Contains(got, want) {
		t.Errorf("excerpt\n%s", got)
	}
}

func TestConvertHandsOverIgnorePatterns(t *testing.T) {
	res := mustConvert(t, "FROM scratch\nCOPY . /\n", nil)
	for _, s := range res.Graph.Steps {
		if l, ok := s.Op.(*graph.Local); ok {
			if !slices.Equal(l.Exclude, []string{"secret"}) {
				t.Errorf("excluded: %v", l.Exclude)
			}
			return
		}
	}
	t.Error("no step reads the context")
}

func TestConvertLeavesOutWhatNobodyNeeds(t *testing.T) {
	res, im, err := convert(t, "FROM nowhere AS unused\nRUN false\nFROM scratch\nCOPY a /\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(im.asked) != 0 {
		t.Errorf("asked for %v", im.asked)
	}
	if slices.Contains(kinds(res.Graph), "exec") {
		t.Error("the unused stage is in the graph")
	}
}

func TestConvertArgsAndTarget(t *testing.T) {
	df := "ARG V=1\nFROM base:$V AS one\nENV A=$V\nFROM scratch\n"
	res, im, err := convert(t, df, func(o *Options) { o.Target, o.Args = "one", map[string]string{"V": "2"} })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(im.asked, []string{"docker.io/library/base:2"}) {
		t.Errorf("asked for %v", im.asked)
	}
	if res.Graph.Result.Step.Op.Kind() != "image" {
		t.Errorf("result is %s", res.Graph.Result.Step.Op.Kind())
	}
}

func TestConvertKeepsThePlatformOfFromUnlessOneIsAskedFor(t *testing.T) {
	for asked, want := range map[string]string{"": "arm64", "amd64": "amd64"} {
		res := mustConvert(t, "FROM --platform=linux/arm64 base\nLABEL a=b\n", func(o *Options) {
			o.Platform = ocispec.Platform{}
			if asked != "" {
				o.Platform = ocispec.Platform{OS: "linux", Architecture: asked}
			}
		})
		if got := res.Image.Architecture; got != want {
			t.Errorf("asked for %q: an image for %s, not %s", asked, got, want)
		}
	}
}

func TestConvertOfScratchAloneIsAnEmptyGraph(t *testing.T) {
	res := mustConvert(t, "FROM scratch\nLABEL a=b\n", nil)
	if res.Graph.Result.Step != nil {
		t.Errorf("result %v", res.Graph)
	}
}

func TestConvertErrorsNameTheLine(t *testing.T) {
	for name, tc := range map[string]struct {
		dockerfile, at, says string
		change               func(*Options)
	}{
		"unknown instruction": {"FROM base\nRUM x\n", "Dockerfile:2", "unknown instruction: RUM", nil},
		"unknown flag":        {"FROM base\nCOPY --chwn=1 a b\n", "Dockerfile:2", "unknown flag: --chwn", nil},
		"unknown mount type":  {"FROM base\nRUN --mount=type=secrets x\n", "Dockerfile:2", "secrets", nil},
		"unknown base":        {"FROM nowhere\nRUN x\n", "Dockerfile:1", "nowhere", nil},
		"unknown target":      {"FROM base AS one\n", "", "target stage", func(o *Options) { o.Target = "two" }},
		"git query":           {"FROM base\nADD https://example.com/r.git?zap=1 /x\n", "Dockerfile:2", "unexpected query", nil},
		"no stage":            {"\n", "Dockerfile:1", "no instructions", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := convert(t, tc.dockerfile, tc.change)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, tc.says)
			}
			var le *graph.LineError
			if tc.at != "" && (!errors.As(err, &le) || le.Span.String() != tc.at) {
				t.Errorf("error %q has no place %s", err, tc.at)
			}
		})
	}
}

func TestTriggersOfABaseImageCannotEndTheProcess(t *testing.T) {
	for _, s := range []trigger{"# x\n# check=skip=all\nRUN x", "\n", "RUM", "FROM x", "RUN x\nRUN y", "RUN <<E\nx\n", "COPY --from=base a /"} {
		o, _ := options("FROM base\n")
		o.Images = s
		if _, err := Convert(context.Background(), o); err == nil {
			t.Errorf("%q: no error", s)
		}
		if res, err := Check(context.Background(), o); err == nil && res.Error == nil {
			t.Errorf("check %q: no error", s)
		}
	}
}
