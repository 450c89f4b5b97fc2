package local

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
)

// The index of names decides as patternmatcher does, which asks each pattern.
func TestG1NamesAreMatchedAsPatternsAre(t *testing.T) {
	const seed = 20
	r := rand.New(rand.NewPCG(seed, seed))
	parts := []string{"a", "b", "c", "a.b", "*", "**", "?", "[ab]", "a*", `\a`, "é", " "}
	word := func(depth int) string {
		elems := make([]string, 1+r.IntN(depth))
		for i := range elems {
			elems[i] = parts[r.IntN(len(parts))]
			if r.IntN(3) > 0 {
				elems[i] = parts[r.IntN(4)] // names are the rule
			}
		}
		return strings.Join(elems, "/")
	}
	for range 3000 {
		var patterns []string
		for range 1 + r.IntN(8) {
			p := word(3)
			if r.IntN(3) == 0 {
				p = []string{"!", "!", "!", "!!", "! ", "!./", "./"}[r.IntN(7)] + p
			}
			patterns = append(patterns, p)
		}
		all, err := patternmatcher.New(patterns)
		if err != nil {
			continue
		}
		m, err := newMatcher(patterns)
		if err != nil {
			t.Fatalf("%q: %v", patterns, err)
		}
		var walk func(dir string, want patternmatcher.MatchInfo, got matches, depth int)
		walk = func(dir string, want patternmatcher.MatchInfo, got matches, depth int) {
			for _, base := range []string{"a", "b", "a.b", "é", " "} {
				name := strings.TrimPrefix(dir+"/"+base, "/")
				out, below, err := all.MatchesUsingParentResults(name, want)
				if err != nil {
					t.Fatal(err)
				}
				is, info := m.match(name, got)
				if is != out {
					t.Errorf("%q of %q: %v, want %v", name, patterns, is, out)
				}
				if depth > 1 {
					walk(name, below, info, depth-1)
				}
			}
		}
		walk("", patternmatcher.MatchInfo{}, matches{}, 3)
	}
}

func TestG1NegationsReachWhatTheyName(t *testing.T) {
	m, err := newMatcher([]string{"*", "!a/b/c", "!d/*/e", "!x"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"a": true, "a/b": true, "a/b/c": false, "a/c": false, "b": false, "d": true, "d/x": true, "d/x/e": false, "x": false, "aa": false,
	} {
		if got := m.negates(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
