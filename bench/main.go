// Command bench measures ocibuild against BuildKit, or against a floor that
// is measured in the same run, and prints what the project has promised
// beside what was found.
//
//	CGO_ENABLED=0 go run . [-quick] [-only NAME] [-n RUNS] [-ocibuild BINARY]
//
// Peers take turns on one machine and the smallest value of several runs
// counts, so that ratios hold where absolute times do not. It is built as the
// product is, without cgo, because its sandbox executes this program. It needs root,
// docker-registry, runc and a static busybox; all of it stays on loopback
// and below $TMPDIR, but for isolation, which fetches Debian's packages. It ends with 1 when a figure is not reached; -quick judges
// nothing, since fixed costs weigh too much in small workloads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/ocibuild/ocibuild/bench/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what a workload has at hand.
type bench struct {
	lab    *lab.Lab
	table  *table
	quick  bool
	runs   int // 0: as many as the workload thinks
	images int // made so far
}

// workload is one measurement of the table.
type workload struct {
	name, about string
	measure     func(context.Context, *bench) error
}

var workloads = []workload{
	{"binary", "size and start of the binary", measureBinary},
	{"cached", "a small project, nothing changed, into the local store", measureCached},
	{"runs20", "twenty RUN lines on busybox, cold", measureRuns},
	{"bigbase", "COPY of one file onto a large base that is in a registry, pushed back", measureBigBase},
	{"bigcopy", "COPY of many files from the context, pushed", measureBigCopy},
	{"compress", "COPY of many files from the context, beside the compression of their layer", measureCompress},
	{"isolation", "one RUN, on several ways of isolation", measureIsolation},
	{"growth", "large inputs of several kinds, beside smaller ones", measureGrowth},
	{"stages", "six stages that do not need each other", measureStages},
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "measure these workloads only, separated by commas: "+names())
	quick := flags.Bool("quick", false, "small workloads and few runs: does it work, not how fast is it")
	runs := flags.Int("n", 0, "runs of each phase; 0 leaves it to the workload")
	binary := flags.String("ocibuild", "", "binary to measure; empty builds it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	l, err := lab.Open(ctx, lab.Options{Ocibuild: *binary})
	if err != nil {
		return err
	}
	defer l.Close()
	b := &bench{lab: l, table: &table{judge: !*quick}, quick: *quick, runs: *runs}
	for _, w := range chosen {
		fmt.Fprintf(stderr, "%s: %s\n", w.name, w.about)
		b.table.begin(w.name)
		if err := w.measure(ctx, b); err != nil {
			// The other workloads may have something to say.
			b.table.fail(err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return b.table.print(stdout)
}

func names() string {
	var all []string
	for _, w := range workloads {
		all = append(all, w.name)
	}
	return strings.Join(all, ", ")
}

func choose(only string) ([]workload, error) {
	if only == "" {
		return workloads, nil
	}
	var chosen []workload
	for name := range strings.SplitSeq(only, ",") {
		at := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
		if at < 0 {
			return nil, fmt.Errorf("no workload %q: there are %s", name, names())
		}
		chosen = append(chosen, workloads[at])
	}
	return chosen, nil
}

// times is how often a phase runs: full of its own, few when in a hurry.
func (b *bench) times(full int) int {
	switch {
	case b.runs > 0:
		return b.runs
	case b.quick:
		return min(full, 2)
	}
	return full
}

// scale makes a workload small when in a hurry.
func (b *bench) scale(f lab.Files) lab.Files {
	if b.quick {
		f.Count, f.Bytes = f.Count/20, f.Bytes/20
	}
	return f
}
