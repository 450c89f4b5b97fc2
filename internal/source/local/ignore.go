package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// DefaultIgnoreName is the ignore file of a context whose Dockerfile has none
// of its own.
const DefaultIgnoreName = ".dockerignore"

// ReadIgnore reads the ignore patterns of the build context dir: of
// "<dockerfile>.dockerignore" beside the Dockerfile when there is one, else of
// ".dockerignore" in dir. It returns the name of the file it read, empty if
// there is none. An empty dockerfile is one that comes from elsewhere.
// Neither file is followed out of its directory when it is a symbolic link.
func ReadIgnore(dir, dockerfile string) (patterns []string, name string, err error) {
	type place struct{ dir, base string }
	places := []place{{dir, DefaultIgnoreName}}
	if dockerfile != "" {
		own := place{filepath.Dir(dockerfile), filepath.Base(dockerfile) + DefaultIgnoreName}
		places = []place{own, places[0]}
	}
	for _, p := range places {
		name := filepath.Join(p.dir, p.base)
		data, err := ReadInside(p.dir, p.base, maxIgnore)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, name, fmt.Errorf("read %s: %w", name, cause(err))
		}
		patterns, err := parseIgnore(data, name)
		return patterns, name, err
	}
	return nil, "", nil
}

// maxIgnore is the most bytes of an ignore file.
const maxIgnore = 16 << 20

// ReadInside reads a regular file of at most limit bytes that lies in dir, or
// below it. A link that leads out is an error, and so is what is no file: to
// read it might never end.
func ReadInside(dir, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

// parseIgnore reads an ignore file at once. Only where something is wrong with it,
// it goes line by line to find the place.
// Errors do not quote the line: a link may show a file that is no ignore file.
func parseIgnore(data []byte, name string) ([]string, error) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
	if err == nil && !slices.ContainsFunc(patterns, func(p string) bool { return checkPattern(p) != nil }) {
		return patterns, nil
	}
	return parseLines(data, name)
}

func parseLines(data []byte, name string) ([]string, error) {
	var patterns []string
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		if number > 1 {
			line = "\n" + line // only the first line of a file may carry a byte order mark
		}
		got, err := ignorefile.ReadAll(strings.NewReader(line))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		for _, p := range got {
			if err := checkPattern(p); err != nil {
				return nil, fmt.Errorf("%s:%d: bad pattern: %w", name, number, err)
			}
			patterns = append(patterns, p)
		}
	}
	return patterns, nil
}

// checkPattern compiles a pattern, which the matcher puts off until its first
// use; a negation is first used when something is left out.
func checkPattern(p string) error {
	if strings.ContainsRune(p, 0) {
		return errors.New("it holds a NUL byte") // the matcher would print about it
	}
	if literal(p) && filepath.Clean(p) != "!" {
		return nil
	}
	patterns := []string{p}
	if p[0] == '!' {
		patterns = []string{"**", p}
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return err
	}
	_, _, err = m.MatchesUsingParentResults("x", patternmatcher.MatchInfo{})
	return err
}

// ignorer decides what patterns leave of a directory.
type ignorer struct {
	exclude *matcher
	include *matcher // turned round: it leaves out what is not included; nil for everything
}

// verdict is the decision about one path; the one about its parent directory
// is an input of it. The zero verdict is that of the root, which always stays.
type verdict struct {
	out                          bool
	byExclude, byInclude         bool // which of the patterns left it out
	excludeResult, includeResult matches
}

func newIgnorer(exclude, include []string) (*ignorer, error) {
	ig := &ignorer{}
	var err error
	if ig.exclude, err = newMatcher(exclude); err != nil {
		return nil, fmt.Errorf("ignore %w", err)
	}
	if len(include) == 0 {
		return ig, nil
	}
	if _, err := patternmatcher.New(include); err != nil {
		return nil, fmt.Errorf("include patterns: %w", err)
	}
	turned := []string{"**"}
	for _, p := range include {
		p = strings.TrimSpace(p)
		left, negated := strings.CutPrefix(p, "!")
		switch {
		case negated && strings.HasPrefix(left, "!"):
			turned = append(turned, `\`+left)
		case negated:
			turned = append(turned, left)
		case p != "":
			turned = append(turned, "!"+p)
		}
	}
	if ig.include, err = newMatcher(turned); err != nil {
		return nil, fmt.Errorf("include %w", err)
	}
	return ig, nil
}

// judge decides about name, whose parent directory got the verdict parent.
func (ig *ignorer) judge(name string, parent verdict) verdict {
	var v verdict
	v.byExclude, v.excludeResult = ig.exclude.match(name, parent.excludeResult)
	if ig.include != nil {
		v.byInclude, v.includeResult = ig.include.match(name, parent.includeResult)
	}
	v.out = v.byExclude || v.byInclude
	return v
}

// mayHold tells whether anything below the directory name could stay, which
// got the verdict v itself. It may say yes in vain, never no.
func (ig *ignorer) mayHold(name string, v verdict) bool {
	return (!v.byExclude || ig.exclude.negates(name)) && (!v.byInclude || ig.include.negates(name))
}
