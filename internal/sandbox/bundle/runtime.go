package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Runtime is an OCI runtime of this machine.
type Runtime struct {
	Path    string // absolute
	Name    string // what it calls itself, such as "runc"
	Version string // as it says it; empty if it does not
}

// OwnsStdio tells whether the runtime gives the standard files of a step to a user of
// its own, who would then own /dev/null of this machine.
func (r *Runtime) OwnsStdio() bool { return r.Name == runsc }

// Find returns the absolute path of a runtime that is named by a path, or by a
// name that is looked for in the directories of list, as in the environment
// variable PATH, and where distributions put what only root is to run.
func Find(name, list string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		path, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		return path, program(path)
	}
	dirs := filepath.SplitList(list)
	for _, d := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	for _, d := range dirs {
		if path := filepath.Join(d, name); filepath.IsAbs(d) && program(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%q is no program in %s: install it, or name its path", name, strings.Join(dirs, string(filepath.ListSeparator)))
}

func program(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return &os.PathError{Op: "execute", Path: path, Err: errors.New("not a program")}
	}
	return nil
}
