package kept

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// errCovered is that a mount covers the place of a file.
var errCovered = errors.New("a mount covers it")

// Show puts files of this machine into the tree, and returns those whose place is
// another mount's: inside one of others, or not that of a regular file. A step can
// replace them, and Restore takes them away.
func (t *Tree) Show(files []snapshot.Shown, others []string) (rest []snapshot.Shown, err error) {
	covered, err := snapshot.Covering(t.Root(), others)
	if err != nil {
		return nil, err
	}
	check := func(at string) error {
		if covered(at) {
			return errCovered
		}
		return nil
	}
	for _, f := range files {
		err := t.showOne(f, check)
		switch {
		case errors.Is(err, errCovered), errors.Is(err, ErrPlace), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			rest = append(rest, f) // mounting it gives the reason
		case err != nil:
			return nil, fmt.Errorf("show %s at %s: %w", f.Source, f.Target, err)
		}
	}
	return rest, nil
}

func (t *Tree) showOne(f snapshot.Shown, check func(string) error) error {
	p := Put{Source: t.m.temp.Name("shown"), Target: f.Target, Original: t.m.temp.Name("shown"), Check: check}
	for _, to := range []string{p.Source, p.Original} {
		if err := snapshot.CopyShown(f.Source, to); err != nil {
			return err
		}
	}
	t.originals = append(t.originals, p.Original)
	if err := t.Put(p); err != nil {
		return errors.Join(err, os.Remove(p.Source))
	}
	return nil
}

// dropOriginals removes the copies that shown files were compared with.
func (t *Tree) dropOriginals() error {
	var errs []error
	for _, o := range t.originals {
		errs = append(errs, os.Remove(o))
	}
	t.originals = nil
	return errors.Join(errs...)
}
