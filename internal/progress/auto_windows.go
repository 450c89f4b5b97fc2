package progress

import (
	"os"

	"golang.org/x/sys/windows"
)

// understandsEscapes switches a console to escape sequences; old ones refuse.
func understandsEscapes(w *os.File) bool {
	h := windows.Handle(w.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
