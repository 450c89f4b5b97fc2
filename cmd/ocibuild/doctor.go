package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/internal/doctor"
)

func (c *cli) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Tell what builds can do on this machine", Args: between(0, 0),
		Long: `Tell what builds can do on this machine: which ways of isolation can run
commands, and what would make the others available; what the store lies on; what
of a RUN can be limited; which security modules of the kernel confine it as well;
which OCI runtimes it can be given to, and what is known against them; and for
which processors it can be.

Everything is found out by doing it, in the store.

Exit codes: 0 RUN is possible, 1 it is not.`,
		RunE: c.do(func(ctx context.Context, _ []string) error { return c.doctor(ctx, asJSON) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as a JSON object")
	return cmd
}

func (c *cli) doctor(ctx context.Context, asJSON bool) error {
	r := doctor.Examine(ctx, c.store, os.Getenv("PATH"))
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.report(r, asJSON); err != nil {
		return err
	}
	if r.Default == "" {
		return &statusError{code: exitFailed}
	}
	return nil
}

func (c *cli) report(r *doctor.Report, asJSON bool) error {
	if !asJSON {
		return c.printf("%s", printable(reportText(r)))
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return c.printf("%s\n", data)
}

// reportText says it to people.
func reportText(r *doctor.Report) string {
	var b strings.Builder
	line := func(ok bool, name, text string) {
		mark := "-"
		if ok {
			mark = "+"
		}
		fmt.Fprintf(&b, "  %s %-16s %s\n", mark, name, oneLine(text))
	}
	b.WriteString("isolation, the best first\n")
	for _, g := range r.Rungs {
		line(g.Available, g.Name, g.Reason)
		if g.Hint != "" {
			fmt.Fprintf(&b, "    %-16s %s\n", "", oneLine(g.Hint))
		}
	}
	if r.Default != "" {
		fmt.Fprintf(&b, "RUN is given %s\n", r.Default)
	} else {
		b.WriteString("RUN is not possible\n")
	}
	fmt.Fprintf(&b, "\nstore %s\n", r.Store.Path)
	storeText(&r.Store, line)
	fmt.Fprintf(&b, "\nlimits of RUN, by control groups (%s)\n", r.Groups)
	for _, l := range r.Limits {
		line(l.Reason == "", l.Name, l.Reason)
	}
	if len(r.Modules) > 0 {
		b.WriteString("\nsecurity modules that confine RUN in addition\n")
	}
	for _, m := range r.Modules {
		line(m.Profile != "", m.Name, m.Profile+m.Reason)
	}
	if len(r.Runtimes) > 0 {
		b.WriteString("\nOCI runtimes, for --runtime\n")
	}
	for _, f := range r.Runtimes {
		text := f.Path
		if f.Reason != "" {
			text += ": " + f.Reason
		}
		line(f.Reason == "", f.Name, text)
	}
	b.WriteString("\nprocessors that RUN can be for\n")
	for _, p := range r.Platforms {
		line(true, p.Arch, p.By)
	}
	return b.String()
}

func storeText(s *doctor.Store, line func(ok bool, name, text string)) {
	if s.Error != "" {
		line(false, "usable", s.Error)
		return
	}
	if s.Notice != "" {
		line(false, "lasting", s.Notice)
	}
	if s.FileSystem == "" {
		return
	}
	line(s.FileSystem != "overlay", "file system", s.FileSystem+overlayText(s.FileSystem))
	line(true, "locks", s.Locks)
	line(true, "free", fmt.Sprintf("%.1f GiB", float64(s.Free)/(1<<30)))
	if s.Flags != "" {
		line(false, "mounted", s.Flags)
	}
}

func overlayText(fileSystem string) string {
	if fileSystem == "overlay" {
		return ": it does not support overlays on top, so trees are flat; a volume or a tmpfs is faster"
	}
	return ""
}
