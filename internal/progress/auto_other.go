//go:build !windows

package progress

import "os"

// understandsEscapes is true: terminals that do not say so in TERM.
func understandsEscapes(*os.File) bool { return true }
