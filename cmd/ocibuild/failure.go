package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/ocibuild/ocibuild/builder"
)

// tailLines is how much of a failing command's output is repeated.
const tailLines = 20

// buildError is a failed build with what the user should see of it besides the
// error's own line.
type buildError struct {
	err  error
	tail []byte // the last of the failing command's output, unless it is on the screen
}

func (e *buildError) Error() string { return e.err.Error() }
func (e *buildError) Unwrap() error { return e.err }

// complain prints an error: what there is to see first, and one line that says it all last.
func (c *cli) complain(err error, hint string) {
	var (
		failed *buildError
		at     *builder.Error
		exit   *builder.ExitError
		out    strings.Builder
	)
	if errors.As(err, &at) {
		out.WriteString(at.Span.Excerpt())
	}
	if errors.As(err, &failed) && len(failed.tail) > 0 {
		out.WriteString("the last of its output:\n")
		for _, line := range lastLines(failed.tail) {
			out.WriteString("  " + line + "\n")
		}
	}
	msg := err.Error()
	if errors.As(err, &exit) {
		msg = fmt.Sprintf("exit code %d: %s", exit.Code, strings.Join(exit.Args, " "))
		if exit.Reason != "" {
			msg += ": " + exit.Reason
		}
		if at != nil && at.Span.String() != "" {
			msg = at.Span.String() + ": " + msg
		}
	}
	out.WriteString("ocibuild: " + oneLine(msg) + hint)
	fmt.Fprintln(c.stderr, printable(out.String()))
}

// lastLines returns the lines as a terminal would show them in the end.
func lastLines(data []byte) []string {
	lines := bytes.Split(bytes.TrimRight(data, "\r\n"), []byte("\n"))
	lines = lines[max(0, len(lines)-tailLines):]
	out := make([]string, len(lines))
	for i, l := range lines {
		l = bytes.TrimRight(l, "\r")
		out[i] = string(l[bytes.LastIndexByte(l, '\r')+1:])
	}
	return out
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// printable keeps what others wrote (a registry, a Dockerfile, a command) from
// steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return -1
		}
		return r
	}, s)
}
