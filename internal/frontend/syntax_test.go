package frontend

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// told translates a Dockerfile and returns what is said of it besides.
func told(t *testing.T, dockerfile string, change func(*Options)) ([]Warning, error) {
	t.Helper()
	var said []Warning
	_, _, err := convert(t, dockerfile, func(o *Options) {
		o.Warn = func(w Warning) { said = append(said, w) }
		if change != nil {
			change(o)
		}
	})
	return said, err
}

func TestSyntaxOfDockerIsBuiltIn(t *testing.T) {
	for image, warns := range map[string]string{
		"docker/dockerfile":                                   "",
		"docker/dockerfile:1":                                 "",
		"docker/dockerfile:1.4":                               "",
		"docker/dockerfile:1.7-labs":                          "",
		"docker/dockerfile:labs":                              "",
		"docker/dockerfile:latest":                            "",
		"docker/dockerfile:experimental":                      "",
		"docker.io/docker/dockerfile:1.0.3":                   "",
		"index.docker.io/docker/dockerfile:1":                 "",
		"docker/dockerfile-upstream:master-labs":              "",
		"dockerfile.v0":                                       "",
		"docker/dockerfile:1.99":                              "1.99 is newer",
		"docker/dockerfile:1.99.1-labs":                       "1.99.1-labs is newer",
		"docker/dockerfile:2":                                 "2 is newer",
		"docker/dockerfile-upstream:1.99":                     "newer",
		"mirror.example/proxy/docker/dockerfile:1.4":          "taken for a copy",
		"docker/dockerfile:1 with words that follow":          "",
		"docker/dockerfile@sha256:" + strings.Repeat("0", 64): "",
	} {
		for how, tc := range map[string]struct {
			dockerfile string
			change     func(*Options)
			line       int
		}{
			"directive": {"# syntax=" + image + "\nFROM base\n", nil, 1},
			"argument": {"# syntax=example.com/not/looked-at\nFROM base\n",
				func(o *Options) { o.Args = map[string]string{"BUILDKIT_SYNTAX": image} }, 0},
		} {
			said, err := told(t, tc.dockerfile, tc.change)
			switch {
			case err != nil:
				t.Errorf("%s %s: %v", how, image, err)
			case warns == "" && len(said) > 0:
				t.Errorf("%s %s: %+v", how, image, said)
			case warns != "" && (len(said) != 1 || !strings.Contains(said[0].Message, warns) || said[0].Line != tc.line):
				t.Errorf("%s %s: %+v, want one about %q on line %d", how, image, said, warns, tc.line)
			}
		}
	}
}

func TestSyntaxOfAnotherLanguageIsRefused(t *testing.T) {
	for _, dockerfile := range []string{
		"# syntax=example.com/mock/file:1\nFROM base\n",
		"#!/usr/bin/env x\n# escape=`\n# syntax = dockerfile/other:1\nFROM base\n",
		"# syntax=someone/dockerfile:1\nFROM base\n",
		"# syntax=docker/other:1\nFROM base\n",
		"# syntax=dockerfile\nFROM base\n",
		"// syntax=example.com/other\nwhatever: that is\n",
		"{\"syntax\":\"example.com/other\"}",
		"# syntax=NOT:an:image\nFROM base\n",
	} {
		_, err := told(t, dockerfile, nil)
		var le *graph.LineError
		if err == nil || !strings.Contains(err.Error(), "syntax ") || !errors.As(err, &le) || len(le.Span.Lines) != 1 {
			t.Errorf("%q: %v", dockerfile, err)
		}
	}
	_, err := told(t, "# syntax=docker/dockerfile:1\nFROM base\n", func(o *Options) { o.Args = map[string]string{"BUILDKIT_SYNTAX": "x/y"} })
	if err == nil || !strings.HasPrefix(err.Error(), "build argument BUILDKIT_SYNTAX: syntax x/y: ") {
		t.Errorf("argument: %v", err)
	}
}

func TestSyntaxIsNoneAfterTheDirectives(t *testing.T) {
	for _, dockerfile := range []string{
		"# a comment\n# syntax=example.com/other\nFROM base\n",
		"\n# syntax=example.com/other\nFROM base\n",
		"FROM base\n# syntax=example.com/other\n",
	} {
		if said, err := told(t, dockerfile, nil); err != nil || len(said) > 0 {
			t.Errorf("%q: %v, %+v", dockerfile, err, said)
		}
	}
}

func TestFiltersThatDoNothingAreToldOf(t *testing.T) {
	const dockerfile = "FROM base AS Build\nRUN a\nFROM base AS two\nCOPY --from=Build a b\n"
	said, err := told(t, dockerfile, func(o *Options) { o.NoCache = []string{"BUILD", "nope"} })
	if err != nil {
		t.Fatal(err)
	}
	said = slices.DeleteFunc(said, func(w Warning) bool { return w.Rule != "" })
	if len(said) != 1 || !strings.Contains(said[0].Message, `no stage has the name "nope"`) {
		t.Errorf("%+v", said)
	}
}

func TestFiltersChooseTheStepsToDoAnew(t *testing.T) {
	const dockerfile = "FROM base AS Build\nRUN a\nFROM base AS two\nRUN b\nCOPY --from=build a b\n"
	for want, filter := range map[string][]string{
		"":                 {"nope"},
		"RUN a":            {"BUILD"},
		"RUN b COPY":       {"two"},
		"RUN a RUN b COPY": {},
	} {
		res := mustConvert(t, dockerfile, func(o *Options) { o.NoCache = filter })
		for _, s := range res.Graph.Steps {
			for _, name := range []string{"RUN a", "RUN b", "COPY"} {
				if strings.Contains(s.Name, name) && s.NoCache != strings.Contains(want, name) {
					t.Errorf("%q: %s is done anew: %v", filter, name, s.NoCache)
				}
			}
		}
	}
}

func TestUnknownTargetsAreAnsweredWithThoseThereAre(t *testing.T) {
	for dockerfile, want := range map[string]string{
		"FROM base AS one\nFROM base AS two\n": `target stage "tow" could not be found (did you mean two?): there are one, two`,
		"FROM base AS other\nFROM base\n":      `target stage "tow" could not be found: there are other`,
		"FROM base\n":                          `target stage "tow" could not be found: no stage of the Dockerfile has a name`,
	} {
		_, _, err := convert(t, dockerfile, func(o *Options) { o.Target = "tow" })
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if res := check(t, dockerfile, func(o *Options) { o.Target = "tow" }); res.Error == nil || res.Error.Message != want {
			t.Errorf("check: %+v, want %s", res.Error, want)
		}
	}
}
