package main

import (
	"golang.org/x/term"

	"github.com/ocibuild/ocibuild/internal/progress"
)

// face returns what shows the progress, and whether it shows all that a
// command prints.
func (c *cli) face(mode string) (face progress.Face, complete bool, err error) {
	terminal := term.IsTerminal(int(c.stderr.Fd()))
	switch mode {
	case "auto":
		return progress.Auto(c.stderr), !terminal, nil
	case "tty":
		if !terminal {
			return nil, false, usagef("--progress tty: standard error is not a terminal")
		}
		return progress.TTY(c.stderr, func() (cols, rows int) {
			cols, rows, err := term.GetSize(int(c.stderr.Fd()))
			if err != nil {
				return 0, 0
			}
			return cols, rows
		}), false, nil
	case "plain":
		return progress.Plain(c.stderr), true, nil
	case "rawjson":
		return progress.RawJSON(c.stderr), true, nil
	case "quiet":
		return progress.Quiet(), false, nil
	}
	return nil, false, usagef("--progress %q: not one of auto, tty, plain, rawjson, quiet", mode)
}
