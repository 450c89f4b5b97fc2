package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// The exit codes, which every help text of a build names.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRun         = 125 // ocibuild run could not run the command
	exitInterrupted = 130
)

var errInterrupted = errors.New("interrupted")

// cli is one call of the program.
type cli struct {
	args                  []string
	stdin, stdout, stderr *os.File
	signals               <-chan os.Signal
	store                 string // --store
}

// run does what the arguments say and returns the exit code.
func (c *cli) run(ctx context.Context) int {
	root := c.rootCommand()
	root.SetArgs(c.args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	var given *statusError
	if cmd.Name() == "run" && code != exitInterrupted && !errors.As(err, &given) {
		code = exitRun // any other code may be the command's own
	}
	if !errors.As(err, &given) || given.err != nil {
		c.complain(err, hint(cmd, err))
	}
	return code
}

// usageError is a call that cannot be meant.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// statusError ends the program with a code; without an error it is silent.
type statusError struct {
	code int
	err  error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var (
		status *statusError
		usage  *usageError
		option *builder.OptionError
	)
	switch {
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &status):
		return status.code
	case errors.As(err, &usage), errors.As(err, &option):
		return exitUsage
	}
	return exitFailed
}

// hint says where help is, to who used the program wrongly.
func hint(cmd *cobra.Command, err error) string {
	if exitCode(err) != exitUsage {
		return ""
	}
	return fmt.Sprintf(" (see %s --help)", cmd.CommandPath())
}

// grace is how long what was interrupted may tidy up. Nothing that it leaves
// does harm: the next build removes it.
const grace = 1700 * time.Millisecond

// interruptible runs f with a context that ends at the first signal. It does
// not wait for f for long: opening a FIFO or reading standard input ends with no
// context. At the second signal the program ends at once, and the kernel ends
// what it started.
func (c *cli) interruptible(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := make(chan error, 1)
	go func() { result <- f(ctx) }()
	var (
		late <-chan time.Time
		err  error
	)
	for waiting := true; waiting; {
		select {
		case <-c.signals:
			if late != nil {
				os.Exit(exitInterrupted) //nolint:gocritic // asked a second time, it waits for nothing
			}
			cancel(errInterrupted)
			late = time.After(grace)
		case err = <-result:
			waiting = false
		case <-late:
			c.showCursor()
			return errInterrupted
		}
	}
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		err = errInterrupted // whatever that led to
	}
	return err
}

// showCursor gives the terminal back when its display had no time to.
func (c *cli) showCursor() {
	if term.IsTerminal(int(c.stderr.Fd())) {
		fmt.Fprint(c.stderr, "\x1b[?25h\n")
	}
}

// waits lets it be said what is waited for.
func (c *cli) waits(ctx context.Context) context.Context {
	return wait.With(ctx, func(text string) { fmt.Fprintln(c.stderr, printable("ocibuild: "+text)) })
}

type action func(ctx context.Context, args []string) error

// do makes a command's function of an action that signals interrupt.
func (c *cli) do(f action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return c.interruptible(c.waits(cmd.Context()), func(ctx context.Context) error { return f(ctx, args) })
	}
}

// between accepts so many arguments, which the usage line calls names.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, names, _ := strings.Cut(cmd.Use, " ")
		switch {
		case len(args) < least:
			return usagef("%s wants %s", cmd.Name(), names)
		case most >= 0 && len(args) > most:
			return usagef("%s wants %s; %q is too much", cmd.Name(), names, args[most])
		}
		return nil
	}
}

func (c *cli) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(c.stdout, format, args...)
	return err
}
