package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// Names of the peers in the table.
const (
	ocibuild = "ocibuild"
	buildkit = "BuildKit"
	floor    = "floor"
)

// table collects measurements and compares them with what was promised.
type table struct {
	judge    bool // whether to say PASS or FAIL
	workload string
	rows     []row
	checks   []check
	failures []error
}

type row struct {
	workload, phase, peer string
	lab.Usage
}

// check is a promise: found is to be at most limit.
type check struct {
	workload, promise string
	found, limit      float64
	unit              string
}

func (t *table) begin(workload string) { t.workload = workload }

func (t *table) fail(err error) {
	t.failures = append(t.failures, fmt.Errorf("%s: %w", t.workload, err))
}

// add notes the best of the runs and returns it.
func (t *table) add(phase, peer string, runs []lab.Usage) lab.Usage {
	best := lab.Best(runs)
	t.rows = append(t.rows, row{t.workload, phase, peer, best})
	return best
}

// atMost notes a promise about a plain number.
func (t *table) atMost(promise string, found, limit float64, unit string) {
	t.checks = append(t.checks, check{t.workload, promise, found, limit, unit})
}

// ratio notes the promise that a is at most limit times b.
func (t *table) ratio(promise string, a, b time.Duration, limit float64) {
	t.atMost(promise, float64(a)/float64(max(b, 1)), limit, "x")
}

func (t *table) print(w io.Writer) error {
	if err := t.printRows(w); err != nil {
		return err
	}
	missed, err := t.printChecks(w)
	if err != nil {
		return err
	}
	if missed > 0 {
		t.failures = append(t.failures, fmt.Errorf("%d figures not reached", missed))
	}
	return errors.Join(t.failures...)
}

func (t *table) printRows(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "workload\tphase\tpeer\twall ms\tCPU ms\tpeak MiB\treceived kB\tsent kB\t")
	for _, r := range t.rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t\n", r.workload, r.phase, r.peer,
			ms(r.Wall), ms(r.CPU), float64(r.Memory)/(1<<20), float64(r.Received)/1e3, float64(r.Sent)/1e3)
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}

func (t *table) printChecks(w io.Writer) (missed int, err error) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "workload\tpromise\tfound\tat most\t")
	for _, c := range t.checks {
		verdict := "PASS"
		switch {
		case !t.judge:
			verdict = "not judged"
		case c.found <= c.limit:
		default: // NaN too, from a phase that did not run
			verdict = "FAIL"
			missed++
		}
		fmt.Fprintf(tw, "%s\t%s\t%.3g %s\t%.3g %s\t%s\n", c.workload, c.promise, c.found, c.unit, c.limit, c.unit, verdict)
	}
	return missed, tw.Flush()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
