package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CheckIsolation tells what is wrong with the name of a rung. None is right: it
// stands for the best one that works.
func CheckIsolation(name string) error {
	known := Isolations()
	switch {
	case name == "" || slices.Contains(known, name):
		return nil
	case len(known) == 0:
		return errors.New("RUN needs Linux, and so there is nothing to choose from")
	}
	return fmt.Errorf("%q is not one of %s", name, strings.Join(known, ", "))
}
