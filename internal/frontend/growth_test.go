package frontend

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// Each of these would take gigabytes, and most of them hours.
func TestDockerfilesThatGrowAreRefused(t *testing.T) {
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)))
		}
		return b.String()
	}
	const from = "FROM scratch\n"
	large := "ENV a=" + strings.Repeat("a", 60_000) + "\n"
	for name, tc := range map[string]struct {
		dockerfile string
		line       int // at which it is too much; 0 is anywhere
	}{
		"a variable doubled":         {from + "ENV a=aa\n" + repeat(40, "ENV a=$a$a\n"), 26},
		"an argument doubled":        {"ARG a=aa\n" + repeat(40, "ARG a=$a$a\n") + from, 25},
		"replaced by itself":         {from + large + "ENV a=${a//a/$a}\n", 3},
		"replaced by text":           {from + large + "ENV a=${a//a/" + strings.Repeat("b", 1000) + "}\n", 3},
		"replaced in replacements":   {from + "ENV a=b\nENV a=" + strings.Repeat("${a//b/", 5000) + strings.Repeat("}", 5000) + "\n", 3},
		"many large variables":       {from + "ENV a=aa\n" + repeat(20, "ENV a=$a$a\n") + repeat(3000, "ENV b#=$a\n"), 0},
		"many large labels":          {from + "ENV a=aa\n" + repeat(20, "ENV a=$a$a\n") + repeat(3000, "LABEL b#=$a\n"), 0},
		"many variables":             {from + repeat(20_000, "ENV a#=x\n"), 0},
		"carried to many commands":   {"FROM base\n" + large + repeat(10_000, "RUN x\n"), 0},
		"carried to another stage":   {"FROM base AS one\n" + large + "FROM one\n" + repeat(10_000, "RUN x\n"), 0},
		"stages on each other":       {"FROM scratch AS s\n" + repeat(10_000, "FROM s AS s\nLABEL a=#\n"), 0},
		"a directory that gets deep": {from + repeat(20_000, "WORKDIR xxxxxxxxxxxxxxxxxxx\n"), 0},
		"all ports many times":       {from + "EXPOSE" + strings.Repeat(" 1-65535", 1000) + "\n", 2},
		"mapped ports":               {from + "ARG p=1-65535:1-65535/udp\nEXPOSE" + strings.Repeat(" $p", 1000) + "\n", 3},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := convert(t, tc.dockerfile, nil)
			le, ok := errors.AsType[*graph.LineError](err)
			if !ok || !strings.Contains(err.Error(), "grow to more than") {
				t.Fatalf("%.200v", err)
			}
			if tc.line != 0 && le.Span.Lines[0].First != tc.line {
				t.Errorf("line %d, want %d", le.Span.Lines[0].First, tc.line)
			}
		})
	}
}

func TestDockerfilesThatOnlyLookLarge(t *testing.T) {
	for name, dockerfile := range map[string]string{
		"a long path":             "FROM scratch\nENV PATH=" + strings.Repeat("/a/b:", 400) + "\nENV X=${PATH//:/$HOME} Y=${PATH##*:}\n",
		"many replacements":       "FROM scratch\nENV a=1.2.3 b=" + strings.Repeat("${a//./_}", 2000) + "\n",
		"one value many times":    "FROM scratch\nARG v=1.2.3\n" + strings.Repeat("LABEL a=$v b=${v//./_} c=${v%.*}\n", 1000),
		"stages with their own":   strings.Repeat("FROM scratch\nENV a="+strings.Repeat("x", 1000)+"\n"+strings.Repeat("LABEL a=b\n", 20), 500),
		"stages on each other":    "FROM scratch AS s\n" + strings.Repeat("FROM s AS s\nLABEL a=b\n", 500),
		"directories":             "FROM scratch\n" + strings.Repeat("WORKDIR /"+strings.Repeat("d", 200)+"\nWORKDIR e\n", 500),
		"all ports":               "FROM scratch\nEXPOSE 1-65535/tcp 1-65535/udp\n",
		"comments for the linter": "# check=skip=all\nFROM scratch AS a\n# check=skip=JSONArgsRecommended\nENV a=b\n# check=skip=all\nARG c=d\n# check=skip=all\nFROM a\n",
	} {
		if _, _, err := convert(t, dockerfile, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
