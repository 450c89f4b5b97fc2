package isolation

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// row is a case in the table: what came of it on each way.
type row struct {
	name  string
	tried bool // or else it was not chosen
	cells []string
}

func (s *suite) row(name string) *row {
	r := &row{name: name, cells: make([]string, len(s.ways))}
	for i := range r.cells {
		r.cells[i] = "?" // not tried
	}
	s.rows = append(s.rows, r)
	return r
}

// print prints the table, and says which ways are not in it.
func (s *suite) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(tw, "case")
	for _, way := range s.ways {
		fmt.Fprint(tw, "\t", way.name)
	}
	fmt.Fprint(tw, "\n")
	for _, r := range s.rows {
		if !r.tried {
			continue
		}
		fmt.Fprint(tw, r.name)
		for _, c := range r.cells {
			fmt.Fprint(tw, "\t", c)
		}
		fmt.Fprint(tw, "\n")
	}
	fmt.Fprint(tw, "seconds")
	for _, way := range s.ways {
		fmt.Fprintf(tw, "\t%.1f", time.Duration(way.spent.Load()).Seconds())
	}
	fmt.Fprint(tw, "\n")
	_ = tw.Flush() // what cannot be printed is not missed by a test
	fmt.Fprintf(w, "%s: the same image, or the same failure; %s: cannot be built, and it is said why; %s: another image, for a reason that the case has\n", same, refused, other)
	for _, a := range s.absent {
		fmt.Fprintf(w, "not to be had here: %s\n", a)
	}
}
