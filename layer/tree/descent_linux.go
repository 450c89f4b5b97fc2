package tree

import "strings"

// descent goes to many directories of merged trees, in the order of their
// names. The last of those on the way stay open, so that the next is mostly one
// step away: a path of a thousand directories is not walked a thousand times.
type descent struct {
	root  *merged
	steps []step // each somewhere below the one before
}

type step struct {
	name string
	dir  *merged
}

// keptSteps bounds how many stay open, each of which may be as many
// descriptors as there are trees.
const keptSteps = 4

// to opens the directory name, which stays the descent's. Of a directory of
// which only the topmost tree shows something, those inside are not asked for:
// the answer is the directory itself.
func (d *descent) to(name string) (*merged, error) {
	for len(d.steps) > 0 && !d.last().above(name) {
		d.drop(len(d.steps) - 1)
	}
	at, done := d.root, 0
	if len(d.steps) > 0 {
		at, done = d.last().dir, len(d.last().name)
	}
	for len(at.fds) > 1 && done < len(name) {
		rest := strings.TrimPrefix(name[done:], "/")
		part, _, _ := strings.Cut(rest, "/")
		next, err := at.child(part)
		if err != nil {
			return nil, err
		}
		done = len(name) - len(rest) + len(part)
		d.steps = append(d.steps, step{name[:done], next})
		if len(d.steps) > keptSteps {
			d.drop(0)
		}
		at = next
	}
	return at, nil
}

func (d *descent) last() *step { return &d.steps[len(d.steps)-1] }

// above tells whether name is this directory or lies below it.
func (s *step) above(name string) bool {
	return strings.HasPrefix(name, s.name) && (len(name) == len(s.name) || name[len(s.name)] == '/')
}

func (d *descent) drop(i int) {
	d.steps[i].dir.close()
	d.steps = append(d.steps[:i], d.steps[i+1:]...)
}

func (d *descent) close() {
	for len(d.steps) > 0 {
		d.drop(0)
	}
}
