package plan

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/ocibuild/ocibuild/layer"
)

// glob returns the names of t that match pattern by path.Match, component by
// component; below a match nothing is looked for. A pattern without wildcards
// is returned as it is, whether or not it exists.
func glob(ctx context.Context, t layer.Tree, pattern string, follow bool) ([]string, error) {
	parts := split(pattern)
	fixed := 0
	for fixed < len(parts) && !hasWildcard(parts[fixed]) {
		fixed++
	}
	if fixed == len(parts) {
		return []string{pattern}, nil
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	base, err := layer.Resolve(ctx, t, path.Join(parts[:fixed]...), follow)
	if err != nil {
		return nil, err
	}
	if e, err := t.Lookup(ctx, base); err != nil || e.Type != layer.Directory {
		return nil, err
	}
	return globDir(ctx, t, base, parts[fixed:])
}

func globDir(ctx context.Context, t layer.Tree, dir string, parts []string) ([]string, error) {
	entries, err := t.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		ok, err := path.Match(parts[0], path.Base(e.Name))
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", parts[0], err)
		}
		switch {
		case !ok:
		case len(parts) == 1:
			out = append(out, e.Name)
		case e.Type == layer.Directory:
			more, err := globDir(ctx, t, e.Name, parts[1:])
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

func hasWildcard(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

// filter is the include and exclude patterns of a copy.
type filter struct {
	include, exclude *patternmatcher.PatternMatcher
}

// verdict is what a filter says of a name; children need their parent's.
type verdict struct {
	include, exclude patternmatcher.MatchInfo
	take, excluded   bool
}

func newFilter(include, exclude []string) (*filter, error) {
	f := &filter{}
	for _, x := range []struct {
		patterns []string
		to       **patternmatcher.PatternMatcher
	}{{include, &f.include}, {exclude, &f.exclude}} {
		if len(x.patterns) == 0 {
			continue
		}
		m, err := patternmatcher.New(x.patterns)
		if err != nil {
			return nil, fmt.Errorf("patterns %s: %w", strings.Join(x.patterns, ", "), err)
		}
		*x.to = m
	}
	return f, nil
}

func (f *filter) match(name string, parent verdict) (verdict, error) {
	v := verdict{take: true}
	var err error
	if f.include != nil {
		if v.take, v.include, err = f.include.MatchesUsingParentResults(name, parent.include); err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
	}
	if f.exclude != nil {
		if v.excluded, v.exclude, err = f.exclude.MatchesUsingParentResults(name, parent.exclude); err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
	}
	v.take = v.take && !v.excluded
	return v, nil
}

// below tells whether something under a directory may still be taken.
func (f *filter) below(v verdict) bool {
	return !v.excluded || f.exclude.Exclusions()
}
