package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/tools/txtar"

	"github.com/ocibuild/ocibuild/conformance/fuzz"
	"github.com/ocibuild/ocibuild/conformance/peer"
	"github.com/ocibuild/ocibuild/conformance/suite"
)

// shrunk is how many failing cases are made smaller; of the others the seeds are told.
const shrunk = 10

// pair is both builders.
type pair struct {
	buildkit *peer.BuildKit
	ocibuild *peer.Ocibuild
	known    *suite.Differences
	tried    atomic.Int64 // makes every attempt's name another, and with it the times of its files
}

// failed is a case that differs.
type failed struct {
	seed  uint64
	lines []string
}

// fuzzed builds n random cases, those of seed and of the numbers that follow.
func fuzzed(ctx context.Context, place peer.Place, seed uint64, n int, stdout io.Writer) error {
	known, err := suite.ReadDifferences("DIFFERENCES.md")
	if err != nil {
		return err
	}
	b, err := peer.StartBuildKit(ctx, place)
	if err != nil {
		return err
	}
	defer b.Stop()
	p := &pair{buildkit: b, ocibuild: &peer.Ocibuild{Place: place}, known: known}
	var mu sync.Mutex
	var bad []failed
	built := 0
	eg, ectx := errgroup.WithContext(ctx)
	eg.SetLimit(jobs)
	for s := seed; s < seed+uint64(n); s++ {
		eg.Go(func() error {
			lines, ok, err := p.compare(ectx, fuzz.Case(s))
			if err != nil {
				return fmt.Errorf("seed %d: %w", s, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				built++
			}
			if len(lines) > 0 {
				bad = append(bad, failed{s, lines})
				fmt.Fprintf(stdout, "seed %d: %s\n", s, strings.Join(lines, "\n\t"))
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d random cases, %d of them build, %d differ\n", n, built, len(bad))
	slices.SortFunc(bad, func(a, b failed) int { return int(a.seed) - int(b.seed) })
	for _, f := range bad[:min(len(bad), shrunk)] {
		a := p.shrink(ctx, f)
		lines, _, err := p.compare(ctx, a)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "\n==== seed %d:\n%s\n%s", f.seed, strings.Join(lines, "\n"), txtar.Format(a))
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d random cases differ", len(bad))
	}
	return nil
}

// shrink makes a failing case smaller, for as long as it fails in the same way.
func (p *pair) shrink(ctx context.Context, f failed) *txtar.Archive {
	way := kind(f.lines[0])
	return fuzz.Shrink(fuzz.Case(f.seed), func(a *txtar.Archive) bool {
		lines, _, err := p.compare(ctx, a)
		return err == nil && len(lines) > 0 && kind(lines[0]) == way
	})
}

// documented are the kinds of differences that random cases show too, each with a case that DIFFERENCES.md names.
var documented = []struct {
	example string
	line    *regexp.Regexp
	when    *regexp.Regexp // what the case has then
	along   *regexp.Regexp // lines that come with that one; nil for none
}{
	{"copy-flags/exclude-dangling", regexp.MustCompile(`^builds, but should fail: failed to compute cache key: .*: not found$`), pattern, nil},
	{"copy/link-to-bracket", regexp.MustCompile(`^builds, but should fail: failed to compute cache key: .*: not found$`), regexp.MustCompile(`(?m)^symlink .*[*?[]`), nil},
	{"add/tar-file-over-dir", regexp.MustCompile(`^builds, but should fail: chtimes .*: not a directory$`), archive, nil},
	{"add/tar-dangling-link-over-dir", regexp.MustCompile(`^builds, but should fail: chtimes .*: no such file or directory$`), archive, nil},
	{"add/tar-link-over-dir", regexp.MustCompile(`^builds, but should fail: link .*: no such file or directory$`), archive, nil},
	{"copy/times-of-merged-dir", regexp.MustCompile(`^(layer \d+ )?file \S+ time: `), regexp.MustCompile(`(?s)(\n(COPY|ADD) .*){3}`), nil},
	{"copy/pattern-without-match", regexp.MustCompile(`^builds, but should fail: lstat /.*: no such file or directory$`), pattern, nil},
	{"copy/link-to-itself", regexp.MustCompile(`^builds, but should fail: .*: too many levels of symbolic links$`), pattern, nil},
	{"copy-flags/exclude-link-to-itself", regexp.MustCompile(`^builds, but should fail: failed to compute cache key: .*: too many links$`), pattern, nil},
	{"copy/pattern-beside-file", regexp.MustCompile(`^builds, but should fail: failed to stat .*: not a directory$`), pattern, nil},
	{"ignore/included-then-ignored", regexp.MustCompile(`^(layer \d+ )?file .* (size: "\d+", not "0"|digest: "\w+", not "e3b0c44298fc1c14"|text: ".*", not "")$`), regexp.MustCompile(`(?s)-- \.dockerignore --\n([^\n]+\n)*!`), nil},
	{
		"copy/other-file-of-same-time", regexp.MustCompile(`^file .* text: "(one|two)\\n", not "(one|two)\\n"$`),
		regexp.MustCompile(`(?s)--\none\n.*--\ntwo\n|--\ntwo\n.*--\none\n`),
		regexp.MustCompile(`^layer \d+ file .*: unexpected: {Path:\S* Type:(dir|file Mode:\d+ Owner:\d+:\d+ Size:4) `),
	},
}

// archive is an instruction that may unpack.
var archive = regexp.MustCompile(`(?m)^ADD `)

// pattern is an instruction that selects files by patterns.
var pattern = regexp.MustCompile(`(?m)^(COPY|ADD) .*([*?[]|--parents|--exclude)`)

// unknown are the lines that DIFFERENCES.md has no kind for.
func (p *pair) unknown(a *txtar.Archive, lines []string) []string {
	text := txtar.Format(a)
	for _, k := range documented {
		if !p.known.Has(k.example) || !k.when.Match(text) || !slices.ContainsFunc(lines, k.line.MatchString) {
			continue
		}
		lines = slices.DeleteFunc(lines, func(line string) bool {
			return k.line.MatchString(line) || k.along != nil && k.along.MatchString(line)
		})
	}
	return lines
}

// details are what does not tell one kind of difference from another.
var details = regexp.MustCompile(`^((?:layer \d+ )?file) .*?( \w+)?: .*|: .*`)

func kind(line string) string { return details.ReplaceAllString(line, "$1$2") }

// compare builds with both and tells how the results differ, and whether there are any.
// A case that neither builds does not differ: what errors say is for the other cases.
func (p *pair) compare(ctx context.Context, a *txtar.Archive) ([]string, bool, error) {
	c, err := suite.NewCase(fmt.Sprintf("fuzz/%d", p.tried.Add(1)), "", a)
	if err != nil {
		return nil, false, err
	}
	want, err := p.buildkit.Build(ctx, c)
	if err != nil {
		return nil, false, err
	}
	got, err := p.ocibuild.Build(ctx, c)
	if err != nil {
		return nil, false, err
	}
	if want.Error != "" && got.Error != "" {
		return nil, false, nil
	}
	return p.unknown(a, c.Compare(want, got)), want.Error == "", nil
}
