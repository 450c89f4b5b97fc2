package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Notice is what has to be known to who runs commands on a rung, or "".
func Notice(isolation string) string {
	if isolation == IsolationChroot {
		return "chroot isolation is not a security boundary: a command can attack whatever else is in this container"
	}
	return ""
}

// CheckIsolation tells what is wrong with the name of a rung. No name is right: it
// stands for the best one that works. That nothing is run is possible everywhere.
func CheckIsolation(name string) error {
	known := Isolations()
	switch {
	case name == "" || name == IsolationNone || slices.Contains(known, name):
		return nil
	case len(known) == 0:
		return errors.New("RUN needs Linux, and so there is nothing to choose from")
	}
	return fmt.Errorf("%q is not one of %s", name, strings.Join(known, ", "))
}
