package suite

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// Report counts cases by group.
type Report struct{ groups map[string]*count }

type count struct{ cases, equal, different, documented int }

// Add counts a case by its differences, and by those that are not documented.
func (r *Report) Add(c *Case, found, unknown []string) {
	if r.groups == nil {
		r.groups = map[string]*count{}
	}
	g := r.groups[c.Group()]
	if g == nil {
		g = &count{}
		r.groups[c.Group()] = g
	}
	g.cases++
	switch {
	case len(found) == 0:
		g.equal++
	case len(unknown) == 0:
		g.documented++
	default:
		g.different++
	}
}

// Print writes the table.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "group\tcases\tequal\tdifferent\tdocumented\t")
	var sum count
	for _, name := range slices.Sorted(maps.Keys(r.groups)) {
		g := r.groups[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", name, g.cases, g.equal, g.different, g.documented)
		sum.cases, sum.equal = sum.cases+g.cases, sum.equal+g.equal
		sum.different, sum.documented = sum.different+g.different, sum.documented+g.documented
	}
	fmt.Fprintf(w, "all\t%d\t%d\t%d\t%d\t\n", sum.cases, sum.equal, sum.different, sum.documented)
	return w.Flush()
}
