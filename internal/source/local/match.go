package local

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
)

// matcher is a list of patterns of which the last that matches decides, as
// patternmatcher has it. That asks each pattern about each file. Here a pattern
// without a wildcard is asked about the file of its name only, so that long lists
// of names cost next to nothing.
type matcher struct {
	patterns []pattern
	names    map[string]int   // position of the first pattern that is this name
	again    map[string][]int // positions of all of them, where there are several
	others   []int            // positions of all other patterns

	whole sync.Mutex // held to use all, which decides instead where it is not nil
	all   *patternmatcher.PatternMatcher

	reached map[string]struct{} // directories that hold what a negated name names
	negated [][]string          // the path elements of each other negation
}

type pattern struct {
	negation bool
	alone    *patternmatcher.PatternMatcher // nil for a name
}

// matches tells which of the patterns match a directory, by their positions: they
// match what is in it, too.
type matches struct {
	at   []int
	info patternmatcher.MatchInfo // of all
}

// notAbove is what tells a matcher of one pattern that no parent matches.
var notAbove = func() patternmatcher.MatchInfo {
	m, err := patternmatcher.New([]string{"a"})
	if err != nil {
		panic(err) // it is one pattern, and a good one
	}
	_, info, _ := m.MatchesUsingParentResults("b", patternmatcher.MatchInfo{})
	return info
}()

func newMatcher(patterns []string) (*matcher, error) {
	for _, p := range patterns {
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		if err := checkPattern(p); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	all, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("patterns: %w", err)
	}
	m := &matcher{
		patterns: make([]pattern, 0, len(patterns)), names: make(map[string]int, len(patterns)), again: map[string][]int{},
		reached: map[string]struct{}{},
	}
	for i, p := range all.Patterns() {
		if p.Exclusion() {
			m.negate(p.String())
		}
		if !m.add(i, p) {
			m.all = all
		}
	}
	return m, nil
}

// add takes in the pattern at position i; not if it cannot be asked alone.
func (m *matcher) add(i int, p *patternmatcher.Pattern) bool {
	added := pattern{negation: p.Exclusion()}
	if literal(p.String()) {
		m.name(p.String(), i)
	} else {
		added.alone = alone(p.String())
		m.others = append(m.others, i)
	}
	m.patterns = append(m.patterns, added)
	return literal(p.String()) || added.alone != nil
}

// name notes that the pattern at position i is a name.
func (m *matcher) name(name string, i int) {
	before, ok := m.names[name]
	switch {
	case !ok:
		m.names[name] = i
	case m.again[name] == nil:
		m.again[name] = []int{before, i}
	default:
		m.again[name] = append(m.again[name], i)
	}
}

// named returns the positions of the patterns that are a name.
func (m *matcher) named(name string) []int {
	i, ok := m.names[name]
	if !ok {
		return nil
	}
	if all := m.again[name]; all != nil {
		return all
	}
	return []int{i}
}

// literal tells whether a pattern matches just what is called so.
func literal(p string) bool { return !strings.ContainsAny(p, `*?[]\`) }

// alone returns a matcher of one pattern, which it has compiled: from then on it
// can be used by many at once. It is nil where the pattern would mean something else
// alone, since what patterns are stripped of has been stripped of this one already.
func alone(p string) *patternmatcher.PatternMatcher {
	m, err := patternmatcher.New([]string{p})
	if err != nil || len(m.Patterns()) != 1 || m.Patterns()[0].Exclusion() || m.Patterns()[0].String() != p {
		return nil
	}
	if _, _, err := m.MatchesUsingParentResults("x", notAbove); err != nil {
		return nil
	}
	return m
}

// match tells whether the patterns match name, whose parent directory got that
// result. It asks those that may match, in their order.
func (m *matcher) match(name string, parent matches) (bool, matches) {
	if m.all != nil {
		m.whole.Lock()
		defer m.whole.Unlock()
		// Every pattern was compiled before: there is no error left to have.
		out, info, _ := m.all.MatchesUsingParentResults(name, parent.info)
		return out, matches{info: info}
	}
	var is matches
	out := false
	above, named, others := parent.at, m.named(filepath.FromSlash(name)), m.others
	for {
		i := min(first(above), first(named), first(others))
		if i == none {
			return out, is
		}
		p := &m.patterns[i]
		hit := first(above) == i
		if !hit && p.negation == out { // else it could change nothing
			hit = p.alone == nil || p.matches(name)
		}
		if hit {
			out, is.at = !p.negation, append(is.at, i)
		}
		above, named, others = after(above, i), after(named, i), after(others, i)
	}
}

func (p *pattern) matches(name string) bool {
	hit, _, _ := p.alone.MatchesUsingParentResults(name, notAbove) // compiled: no error
	return hit
}

// none is larger than any position.
const none = int(^uint(0) >> 1)

func first(positions []int) int {
	if len(positions) == 0 {
		return none
	}
	return positions[0]
}

func after(positions []int, i int) []int {
	if first(positions) == i {
		return positions[1:]
	}
	return positions
}

// negate notes what a negation may reach.
func (m *matcher) negate(p string) {
	elems := strings.Split(filepath.ToSlash(p), "/")
	if !literal(p) {
		m.negated = append(m.negated, elems)
		return
	}
	for i := range elems[1:] {
		m.reached[strings.Join(elems[:i+1], "/")] = struct{}{}
	}
}

// negates tells whether a negation could match something below the directory
// name: a pattern that is no longer than name matches nothing below it, except
// with "**".
func (m *matcher) negates(name string) bool {
	if _, ok := m.reached[name]; ok {
		return true
	}
	if len(m.negated) == 0 {
		return false
	}
	elems := strings.Split(name, "/")
	for _, n := range m.negated {
		if reachesBelow(n, elems) {
			return true
		}
	}
	return false
}

func reachesBelow(pattern, dir []string) bool {
	for i, p := range pattern {
		// A class may match the separator, so what follows it is anywhere.
		if strings.Contains(p, "**") || strings.ContainsAny(p, `[]\`) {
			return true
		}
		if i == len(dir) {
			return true
		}
		if p != dir[i] && !strings.ContainsAny(p, "*?") {
			return false
		}
	}
	return false
}
