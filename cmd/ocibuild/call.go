package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"
	"github.com/spf13/pflag"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/graph"
)

// callFlag is --call: what to do with a Dockerfile. Its zero value builds.
type callFlag struct {
	what         string // check, outline or targets; empty builds
	json         bool
	ignoreStatus bool
}

func (f *callFlag) add(fs *pflag.FlagSet) {
	fs.Var(f, "call", "`METHOD` that is used in place of build: check, outline (arguments and secrets)\n"+
		"or targets (stages); check,format=json for programs, and with\n"+
		"check,ignorestatus=true warnings are no failure")
	fs.BoolFunc("check", "look for mistakes in the Dockerfile, and build nothing: --call check", func(s string) error {
		on, err := strconv.ParseBool(s)
		if err == nil && on {
			*f = callFlag{what: "check"}
		}
		return err
	})
}

// Type implements pflag.Value.
func (f *callFlag) Type() string { return "string" }

// String implements pflag.Value.
func (f *callFlag) String() string { return f.what }

// Set implements pflag.Value. It reads "METHOD[,format=FORMAT][,ignorestatus=BOOL]".
func (f *callFlag) Set(s string) error {
	list, err := fields("--call", s)
	if err != nil {
		return err
	}
	*f = callFlag{}
	method := ""
	for _, one := range list {
		switch {
		case one.bare && method != "":
			err = fmt.Errorf("both %s and %s", method, one.key)
		case one.bare:
			method = one.key
			err = f.setMethod(method)
		case one.key == "format" && (one.value == "json" || one.value == "text"):
			f.json = one.value == "json"
		case one.key == "format":
			err = fmt.Errorf("format %q is not one of text, json", one.value)
		case one.key == "ignorestatus":
			f.ignoreStatus, err = strconv.ParseBool(one.value)
		default:
			err = fmt.Errorf("%q: there are format and ignorestatus", one.key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *callFlag) setMethod(name string) error {
	switch name {
	case "build":
	case "check", "lint":
		f.what = "check"
	case "outline", "targets":
		f.what = name
	default:
		return fmt.Errorf("%q is not one of build, check, outline, targets", name)
	}
	return nil
}

// call asks about a Dockerfile and prints the answer. What says where an image
// goes is taken and not looked at: there is none.
func (c *cli) call(ctx context.Context, f *buildFlags, dir string) error {
	for flag, file := range map[string]string{"--iidfile": f.iidFile, "--metadata-file": f.metadataFile} {
		if file != "" {
			return usagef("%s: --call %s builds nothing that there is something to write of", flag, f.call.what)
		}
	}
	if f.quiet {
		f.progress = "quiet"
	}
	o, err := f.options(c, dir)
	if err != nil {
		return err
	}
	face, _, err := c.face(f.progress)
	if err != nil {
		return err
	}
	if err := readSecrets(o.Secrets); err != nil {
		return err
	}
	o.Progress = face.Event
	answer, err := f.call.ask(ctx, o)
	if cerr := face.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("show progress: %w", cerr)
	}
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = f.call.print(&out, answer, f.dockerfilePath(dir))
	text := out.String()
	if !f.call.json { // which has no control characters
		text = printable(text)
	}
	if perr := c.printf("%s", text); perr != nil {
		return perr
	}
	return err
}

func (f *callFlag) ask(ctx context.Context, o *builder.Options) (any, error) {
	switch f.what {
	case "outline":
		return builder.Outline(ctx, *o)
	case "targets":
		return builder.Targets(ctx, *o)
	}
	return builder.Check(ctx, *o)
}

// print writes an answer as docker does. The error is what a check found.
func (f *callFlag) print(w io.Writer, answer any, path string) error {
	data, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		return err
	}
	if f.json {
		fmt.Fprintf(w, "%s\n", data)
	}
	switch answer := answer.(type) {
	case *lint.LintResults:
		return f.printCheck(w, answer, path)
	case *outline.Outline:
		if !f.json {
			return outline.PrintOutline(data, w)
		}
	case *targets.List:
		if !f.json {
			return targets.PrintTargets(data, w)
		}
	}
	return nil
}

// printCheck writes warnings, unless they are written as JSON.
func (f *callFlag) printCheck(w io.Writer, res *lint.LintResults, path string) error {
	n := len(res.Warnings)
	if !f.json {
		switch n {
		case 0:
		case 1:
			fmt.Fprintln(w, "Check complete, 1 warning has been found!")
		default:
			fmt.Fprintf(w, "Check complete, %d warnings have been found!\n", n)
		}
		if err := res.PrintTo(w, func(s *pb.SourceInfo) *pb.SourceInfo { return named(s, path) }); err != nil {
			return err
		}
		switch {
		case n == 0 && res.Error == nil:
			fmt.Fprintln(w, "Check complete, no warnings found.")
		case res.Error != nil && n > 0:
			fmt.Fprintln(w)
		}
	}
	switch {
	case res.Error != nil:
		return broken(res, path)
	case n > 0 && !f.ignoreStatus:
		return &statusError{code: exitFailed}
	}
	return nil
}

// broken is what a check found that no build would survive.
func broken(res *lint.LintResults, path string) error {
	source := named(res.Sources[res.Error.Location.SourceIndex], path)
	span := graph.Span{File: source.Filename, Data: source.Data}
	for _, r := range res.Error.Location.Ranges {
		span.Lines = append(span.Lines, graph.Range{First: int(r.Start.Line), Last: int(r.End.Line)})
	}
	return &builder.Error{Span: span, Err: errors.New(res.Error.Message)}
}

// named is a source under the name that the user gave it.
func named(s *pb.SourceInfo, path string) *pb.SourceInfo {
	if path == "" {
		return s
	}
	s = s.CloneVT()
	s.Filename = path
	return s
}

// dockerfilePath is where the user has the Dockerfile; empty if it is not a
// file of this machine.
func (f *buildFlags) dockerfilePath(dir string) string {
	switch {
	case f.file == "-":
		return "stdin"
	case dir == "-" || builder.IsRemote(dir):
		return ""
	case f.file != "":
		return f.file
	}
	return filepath.Join(dir, "Dockerfile")
}
