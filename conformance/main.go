// Command conformance compares ocibuild with BuildKit, case by case.
//
//	go run .                  build every case and compare with BuildKit's results
//	go run . -reference       make BuildKit's results anew: needs root and runc
//	go run . -run '^copy/'    only these cases
//	go run . -fuzz 2000       build random cases with both and compare: needs root and runc
//
// A case is a txtar file below cases: a Dockerfile, the files of the context,
// "args" (flags, one a line) and "setup" (what txtar has no words for). The same
// files are served at the URL @web, as files and as git repositories. The line
// "# fails: TEXT" at its top says that it must fail, and what the errors say,
// with " | " between ways of saying it. BuildKit's result lies beside it as JSON.
// Base images are made of the files below bases and served by a registry on
// loopback.
//
// It ends with 1 when a result differs and DIFFERENCES.md has no reason for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/conformance/peer"
	"github.com/ocibuild/ocibuild/conformance/suite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(stderr)
	reference := flags.Bool("reference", false, "make BuildKit's results anew")
	missing := flags.Bool("missing", false, "with -reference: only those that are not there")
	random := flags.Int("fuzz", 0, "build `N` random cases with both builders")
	seed := flags.Uint64("seed", 1, "with -fuzz: that of the first case")
	match := flags.String("run", "", "cases whose names match this `REGEXP`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	expr, err := regexp.Compile(*match)
	if err != nil {
		return err
	}
	cases, err := suite.Cases("cases", expr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ocibuild-conformance-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := suite.StartRegistry(ctx, "bases")
	if err != nil {
		return err
	}
	defer r.Close()
	files, err := suite.StartServer(ctx)
	if err != nil {
		return err
	}
	defer files.Close()
	place := peer.Place{Clock: suite.Clock{Start: time.Now()}, Dir: dir, Mirror: r.Host(), Files: files}
	if *random > 0 {
		return fuzzed(ctx, place, *seed, *random, stdout)
	}
	if *reference {
		return makeReference(ctx, cases, place, *missing, stdout)
	}
	return check(ctx, cases, place, stdout)
}

// jobs is how many cases are built at a time.
const jobs = 2

// makeReference builds the cases with BuildKit.
func makeReference(ctx context.Context, cases []*suite.Case, place peer.Place, missing bool, stdout io.Writer) error {
	b, err := peer.StartBuildKit(ctx, place)
	if err != nil {
		return err
	}
	defer b.Stop()
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(jobs)
	var mu sync.Mutex
	bad := 0
	for _, c := range cases {
		if _, err := c.Reference(); missing && err == nil {
			continue
		}
		eg.Go(func() error {
			r, err := b.Build(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			if why := unexpected(c, r); why != "" {
				mu.Lock()
				defer mu.Unlock()
				bad++
				fmt.Fprintf(stdout, "%s: %s\n", c.Name, why)
			}
			return c.SetReference(r)
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d cases do not say what BuildKit does", bad)
	}
	return nil
}

// unexpected tells how a case errs about BuildKit.
func unexpected(c *suite.Case, r *suite.Result) string {
	switch {
	case c.Fails == "" && r.Error != "":
		return "fails: " + r.Error
	case c.Fails != "" && r.Error == "":
		return "builds"
	case !c.Says(r.Error):
		return fmt.Sprintf("%q does not say %q", r.Error, c.Fails)
	}
	return ""
}

// check builds the cases with ocibuild and compares.
func check(ctx context.Context, cases []*suite.Case, place peer.Place, stdout io.Writer) error {
	known, err := suite.ReadDifferences("DIFFERENCES.md")
	if err != nil {
		return err
	}
	found := make([][]string, len(cases))
	o := &peer.Ocibuild{Place: place}
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(jobs)
	for i, c := range cases {
		eg.Go(func() (err error) {
			found[i], err = differences(ctx, o, c)
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	var report suite.Report
	bad := 0
	for i, c := range cases {
		unknown := known.Unknown(c, found[i])
		report.Add(c, found[i], unknown)
		for _, line := range unknown {
			fmt.Fprintf(stdout, "%s: %s\n", c.Name, line)
		}
		bad += min(len(unknown), 1)
	}
	stale := known.Stale(cases)
	for _, line := range stale {
		fmt.Fprintln(stdout, line)
	}
	if err := report.Print(stdout); err != nil {
		return err
	}
	if bad+len(stale) > 0 {
		return fmt.Errorf("%d cases differ, %d entries of DIFFERENCES.md are stale", bad, len(stale))
	}
	return nil
}

func differences(ctx context.Context, o *peer.Ocibuild, c *suite.Case) ([]string, error) {
	want, err := c.Reference()
	if err != nil {
		return nil, err
	}
	got, err := o.Build(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return c.Compare(want, got), nil
}
