package suite

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Differences are those that stand in DIFFERENCES.md, with a reason each.
type Differences struct {
	file string
	all  []*known
}

type known struct {
	name, start string
	seen        bool
}

// knownLine is a case and how its differences begin: - `copy/x` `file /a`: reason.
var knownLine = regexp.MustCompile("^- `([^`]+)`(?: `([^`]+)`)?: ?\\S")

// ReadDifferences reads the list.
func ReadDifferences(file string) (*Differences, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := &Differences{file: file}
	for line := range strings.Lines(string(data)) {
		if m := knownLine.FindStringSubmatch(line); m != nil {
			d.all = append(d.all, &known{name: m[1], start: m[2]})
		} else if strings.HasPrefix(line, "- `") {
			return nil, fmt.Errorf("%s: a case without a reason: %s", file, line)
		}
	}
	return d, nil
}

// Has tells whether a case is in the list.
func (d *Differences) Has(name string) bool {
	return slices.ContainsFunc(d.all, func(k *known) bool { return k.name == name })
}

// Unknown returns the differences of a case that are not in the list.
func (d *Differences) Unknown(c *Case, found []string) []string {
	return slices.DeleteFunc(slices.Clone(found), func(line string) bool {
		ok := false
		for _, k := range d.all {
			if k.name == c.Name && strings.HasPrefix(line, k.start) {
				k.seen, ok = true, true
			}
		}
		return ok
	})
}

// Stale returns the entries that no case needed.
func (d *Differences) Stale(cases []*Case) []string {
	var out []string
	for _, k := range d.all {
		ran := slices.ContainsFunc(cases, func(c *Case) bool { return c.Name == k.name })
		if ran && !k.seen {
			out = append(out, fmt.Sprintf("%s: %s %s: there is no such difference any more", d.file, k.name, k.start))
		}
	}
	return out
}
