package frontend

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/subrequests/lint"
)

// rules is a Dockerfile for each of BuildKit's rules that breaks it, and no other.
var rules = map[string]string{
	"StageNameCasing":                 "FROM base AS Big\n",
	"FromAsCasing":                    "FROM base as one\n",
	"NoEmptyContinuation":             "FROM base\nRUN a && \\\n\n  b\n",
	"ConsistentInstructionCasing":     "FROM base\nRUN a\nrun b\n",
	"DuplicateStageName":              "FROM base AS one\nFROM base AS one\n",
	"ReservedStageName":               "FROM base AS scratch\n",
	"JSONArgsRecommended":             "FROM base\nCMD echo\n",
	"MaintainerDeprecated":            "FROM base\nMAINTAINER me\n",
	"UndefinedArgInFrom":              "FROM base:${NONE}latest\n",
	"WorkdirRelativePath":             "FROM nodir\nWORKDIR app\n",
	"UndefinedVar":                    "FROM base\nCOPY $NONE /\n",
	"MultipleInstructionsDisallowed":  "FROM base\nCMD [\"a\"]\nCMD [\"b\"]\n",
	"LegacyKeyValueFormat":            "FROM base\nENV A b\n",
	"InvalidBaseImagePlatform":        "FROM arm\n",
	"RedundantTargetPlatform":         "FROM --platform=$TARGETPLATFORM base\n",
	"SecretsUsedInArgOrEnv":           "FROM base\nARG PASSWORD\n",
	"InvalidDefaultArgInFrom":         "ARG NAME\nFROM base:${NAME}\n",
	"FromPlatformFlagConstDisallowed": "FROM --platform=linux/amd64 base\n",
	"CopyIgnoredFile":                 "FROM base\nCOPY secret /\n",
	"InvalidDefinitionDescription":    "# check=experimental=InvalidDefinitionDescription\n# the other is a stage\nFROM base AS one\n",
	"ExposeProtoCasing":               "FROM base\nEXPOSE 80/TCP\n",
	"ExposeInvalidFormat":             "FROM base\nEXPOSE 1.2.3.4:80:80\n",
}

func check(t *testing.T, dockerfile string, change func(*Options)) *lint.LintResults {
	t.Helper()
	o, _ := options(dockerfile)
	o.Args = map[string]string{"NAME": "latest"}
	if change != nil {
		change(&o)
	}
	res, err := Check(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func broken(res *lint.LintResults) []string {
	var out []string
	for _, w := range res.Warnings {
		out = append(out, w.RuleName)
	}
	return slices.Compact(out)
}

func TestCheckKnowsEveryRule(t *testing.T) {
	for rule, dockerfile := range rules {
		t.Run(rule, func(t *testing.T) {
			res := check(t, dockerfile, nil)
			if got := broken(res); !slices.Equal(got, []string{rule}) || res.Error != nil {
				t.Errorf("broken rules %v, error %+v", got, res.Error)
			}
		})
	}
}

func TestCheckIsToldWhatNotToCheck(t *testing.T) {
	const mistakes = "FROM base as one\nMAINTAINER me\n"
	for name, tc := range map[string]struct {
		dockerfile, arg, fails string
		want                   []string
	}{
		"nothing":           {mistakes, "", "", []string{"FromAsCasing", "MaintainerDeprecated"}},
		"one rule":          {"# check=skip=FromAsCasing\n" + mistakes, "", "", []string{"MaintainerDeprecated"}},
		"all rules":         {"# check=skip=all\n" + mistakes, "", "", nil},
		"no comment":        {"# check = skip=all;error=true\n" + mistakes, "", "", nil},
		"warnings fail":     {"# check=error=true\n" + mistakes, "", "lint violation found for rules: ", []string{"FromAsCasing", "MaintainerDeprecated"}},
		"by argument":       {"# check=skip=all\n" + mistakes, "skip=FromAsCasing;error=true", "MaintainerDeprecated", []string{"MaintainerDeprecated"}},
		"one instruction":   {"FROM base\n# check=skip=MaintainerDeprecated\nMAINTAINER me\n", "", "", nil},
		"unknown option":    {"# check=skp=all\n" + mistakes, "", `invalid check option "skp"`, nil},
		"not at the top":    {"FROM base as one\n# check=skip=all\nRUN a\n", "", "", []string{"FromAsCasing"}},
		"after a comment":   {"# it is about FROM now\n# check=skip=all\n" + mistakes, "", "", []string{"MaintainerDeprecated"}},
		"whatever the case": {"# CHECK=skip=all\n" + mistakes, "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			res := check(t, tc.dockerfile, func(o *Options) {
				if tc.arg != "" {
					o.Args["BUILDKIT_DOCKERFILE_CHECK"] = tc.arg
				}
			})
			got := broken(res)
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("broken rules %v, want %v", got, tc.want)
			}
			if (res.Error != nil) != (tc.fails != "") || res.Error != nil && !strings.Contains(res.Error.Message, tc.fails) {
				t.Errorf("error %+v, want %q", res.Error, tc.fails)
			}
		})
	}
}

func TestCheckLooksAtAllStagesOrAtTheTargets(t *testing.T) {
	const dockerfile = "FROM base AS one\nCOPY $A /\nFROM base AS two\nCOPY $B /\nFROM scratch AS three\n"
	if res := check(t, dockerfile, nil); len(res.Warnings) != 2 {
		t.Errorf("without a target %+v", res.Warnings)
	}
	res := check(t, dockerfile, func(o *Options) { o.Target = "two" })
	if len(res.Warnings) != 1 || res.Warnings[0].Location.Ranges[0].Start.Line != 4 {
		t.Errorf("with a target %+v", res.Warnings)
	}
}

func TestCheckHasWhatABuildWouldDieOf(t *testing.T) {
	for dockerfile, want := range map[string]struct {
		says string
		line int32
	}{
		"FROM base\nRUM x\n": {"unknown instruction: RUM", 2},
		"FROM nowhere\n":     {"nowhere", 1},
	} {
		res := check(t, dockerfile, nil)
		if res.Error == nil || !strings.Contains(res.Error.Message, want.says) {
			t.Errorf("%q: error %+v, want %q", dockerfile, res.Error, want.says)
			continue
		}
		if r := res.Error.Location.Ranges; len(r) == 0 || r[0].Start.Line != want.line {
			t.Errorf("%q: error at %v, want line %d", dockerfile, r, want.line)
		}
	}
}

func TestCheckRunsAndFetchesNothing(t *testing.T) {
	o, im := options("FROM base AS one\nRUN false\nADD https://example.invalid/x /\nFROM one\nCOPY --from=base a b\n")
	if _, err := Check(context.Background(), o); err != nil { // o.Solve is nil: it could not
		t.Fatal(err)
	}
	for _, ref := range im.asked {
		if ref != "docker.io/library/base:latest" {
			t.Errorf("asked for %s", ref)
		}
	}
}

func TestOutlineHasTheParametersOfTheTarget(t *testing.T) {
	o, _ := options(`# the version to fetch
ARG VERSION=1
ARG UNUSED=1
FROM base:$VERSION AS first
RUN --mount=type=secret,target=/etc/token,required=true --mount=type=ssh true
FROM base AS second
RUN --mount=type=secret,id=not-of-the-target true
FROM scratch AS third
# BAR is the end of a name
ARG BAR
RUN --mount=type=secret,id=second${BAR} true
# target is what is wanted
FROM third AS target
COPY --from=first /foo /
`)
	o.Target, o.Args = "target", map[string]string{"BAR": "678"}
	res, err := Outline(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Name != "target" || res.Description != "is what is wanted" {
		t.Errorf("target %q, %q", res.Name, res.Description)
	}
	var got []string
	for _, a := range res.Args {
		got = append(got, "arg "+a.Name+"="+a.Value+" "+a.Description)
	}
	for _, s := range res.Secrets {
		got = append(got, "secret "+s.Name)
	}
	for _, s := range res.SSH {
		got = append(got, "ssh "+s.Name)
	}
	want := []string{"arg BAR=678 is the end of a name", "arg VERSION=1 ", "secret second678", "secret token", "ssh default"}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOutlineIsInOrder(t *testing.T) {
	for range 20 {
		o, _ := options("FROM base\nARG Z=1 B=2 A=3\nRUN --mount=type=secret,id=y --mount=type=secret,id=x z\nARG C\n")
		res, err := Outline(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range res.Args {
			got = append(got, a.Name)
		}
		for _, s := range res.Secrets {
			got = append(got, s.Name)
		}
		if want := []string{"A", "B", "Z", "C", "x", "y"}; !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestTargetsAreAllStages(t *testing.T) {
	o, im := options("# build makes it\nFROM nowhere AS build\nFROM --platform=$BUILDPLATFORM build\nFROM scratch AS last\n")
	res, err := Targets(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, target := range res.Targets {
		got = append(got, strings.Join([]string{target.Name, target.Base, target.Platform, target.Description}, "|"))
	}
	if want := []string{"build|nowhere||makes it", "|build|$BUILDPLATFORM|", "last|scratch||"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !res.Targets[2].Default || len(im.asked) != 0 {
		t.Errorf("default %v; asked for %v", res.Targets[2].Default, im.asked)
	}
}

func TestTargetsAreThoseOfBuildKit(t *testing.T) {
	for _, dockerfile := range []string{
		"# build makes it\nFROM nowhere AS Build\nFROM --platform=$BUILDPLATFORM build\n\nFROM scratch AS last \\\n\nRUN x\n",
		"ARG A\nFROM $A\n", "FROM base\nRUM x\n", "RUN x\n", "# escape=`\nFROM base AS `\n one\n",
	} {
		o, _ := options(dockerfile)
		got, err := Targets(context.Background(), o)
		want, werr := dockerfile2llb.ListTargets(context.Background(), []byte(dockerfile))
		if (err == nil) != (werr == nil) {
			t.Errorf("%q: %v, want %v", dockerfile, err, werr)
		}
		if g, w := asJSON(t, got), asJSON(t, want); g != w {
			t.Errorf("%q: %s, want %s", dockerfile, g, w)
		}
	}
}

func TestTargetsSurviveCheckComments(t *testing.T) {
	o, _ := options("FROM base AS one\n# check=skip=WorkdirRelativePath\nWORKDIR x\n")
	if res, err := Targets(context.Background(), o); err != nil || len(res.Targets) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
