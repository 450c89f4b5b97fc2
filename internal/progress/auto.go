package progress

import (
	"os"

	"golang.org/x/term"
)

// Auto returns a [TTY] when w is a terminal that understands escape sequences,
// and [Plain] otherwise.
func Auto(w *os.File) Face {
	fd := int(w.Fd())
	if !term.IsTerminal(fd) || os.Getenv("TERM") == "dumb" || !understandsEscapes(w) {
		return Plain(w)
	}
	return TTY(w, func() (cols, rows int) {
		cols, rows, err := term.GetSize(fd)
		if err != nil {
			return 0, 0
		}
		return cols, rows
	})
}
