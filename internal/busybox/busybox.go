// Package busybox finds, for tests and benchmarks, this machine's busybox: the one
// program that an image needs to have all the others.
package busybox

import (
	"debug/elf"
	"fmt"
	"os/exec"
)

// Static returns the path of a busybox that runs in an image which holds nothing
// else. The error says which package has one.
func Static() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("%w (it is in the package busybox-static)", err)
	}
	program, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = program.Close() }() // it was only read
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is not static: an image needs the package busybox-static", path)
		}
	}
	return path, nil
}
