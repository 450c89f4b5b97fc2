package kept

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// Put is something that a step finds at a place, for as long as it runs, as if
// it were mounted there.
type Put struct {
	// Source is a file or directory in the file system of the manager's Temp. It
	// is moved to the target, and what is left of it removed by Restore.
	Source string
	// Target is a path in the tree, in which links lead nowhere else. What is
	// there is moved aside; what is missing above it is made.
	Target string
	// Borrowed makes Restore move what was moved back to Source, which must not be
	// lost: should this process die, the next manager of the store does it. What a
	// step did not leave at the target is gone, though.
	Borrowed bool
	// Linked leaves Source where it is and makes the target another name of it.
	Linked bool
	// Original is another copy of the file Source, which the step may replace or
	// remove: then what it left at the target belongs to its changes. Empty means
	// that whatever is left there goes.
	Original string
	// Plain forbids that a link at Target leads anywhere.
	Plain bool
	// Check may refuse the absolute path in the tree that Target leads to; nil
	// refuses none but the root.
	Check func(at string) error
}

// ErrPlace is that there is something at a target that does not go with the
// source: a file in place of a directory, or the other way round; or a link, with
// Plain.
var ErrPlace = errors.New("the target is of another kind")

// put is what was done.
type put struct {
	Put
	parent  int // the directory of the target, open
	base    string
	at      string // path of the target, free of links
	was     inode  // of what was put there
	aside   string // where what was there is, or ""
	before  node   // that, before it was moved
	missing bool   // there was nothing
}

// moved is a file that was moved away and back, which has changed its time.
type moved struct {
	at            string
	before, after node
}

// forgive makes a look at the tree before the step say that the file has not
// changed, unless it has.
func (m *moved) forgive(base *node) {
	n := base.find(m.at)
	if n != nil && n.untouched(&m.before) && n.inode() == m.after.inode() {
		n.changed = m.after.changed
	}
}

// Put shows a step what it asks for. Restore must be called.
func (t *Tree) Put(p Put) error {
	w, err := t.walker()
	if err != nil {
		return err
	}
	defer w.close()
	place, err := w.locate(p.Target, p.Plain)
	t.stubs = append(t.stubs, w.stubs...)
	if err != nil {
		return err
	}
	if p.Check != nil {
		if err := p.Check("/" + place.path); err != nil {
			unix.Close(place.parent)
			return err
		}
	}
	u := &put{Put: p, parent: place.parent, base: place.base, at: place.path, missing: !place.exists}
	if err := t.show(u); err != nil {
		unix.Close(u.parent)
		return err
	}
	t.puts, t.put = append(t.puts, u), true
	return nil
}

func (t *Tree) show(u *put) error {
	var source, there node
	if err := source.look(unix.AT_FDCWD, u.Source); err != nil {
		return &os.PathError{Op: "look at", Path: u.Source, Err: err}
	}
	u.was = source.inode()
	if !u.missing {
		if err := there.look(u.parent, u.base); err != nil {
			return err
		}
		if there.isDir() != source.isDir() {
			return ErrPlace
		}
		u.before, u.aside = there, filepath.Join(t.dir, fmt.Sprintf("aside-%d", len(t.puts)))
	}
	if u.Borrowed {
		if err := t.note(u); err != nil {
			return err
		}
	}
	return keepTimes(u.parent, func() error {
		if u.aside != "" {
			if err := unix.Renameat(u.parent, u.base, unix.AT_FDCWD, u.aside); err != nil {
				return err
			}
		}
		err := u.move()
		if err != nil && u.aside != "" {
			err = errors.Join(err, unix.Renameat(unix.AT_FDCWD, u.aside, u.parent, u.base))
		}
		return err
	})
}

func (u *put) move() error {
	var err error
	if u.Linked {
		err = unix.Linkat(unix.AT_FDCWD, u.Source, u.parent, u.base, 0)
	} else {
		err = unix.Renameat(unix.AT_FDCWD, u.Source, u.parent, u.base)
	}
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", u.Source, u.at, err)
	}
	return nil
}

// Restore moves back what Put has moved, and removes what it has made for that.
// Nothing may be running in the tree any more.
func (t *Tree) Restore() error {
	var errs []error
	for _, u := range slices.Backward(t.puts) {
		if err := t.takeBack(u); err != nil {
			errs = append(errs, fmt.Errorf("take %s away: %w", u.at, err))
		}
		unix.Close(u.parent)
	}
	t.puts = nil
	for _, s := range slices.Backward(t.stubs) { // what is inside goes first
		if err := s.remove(); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", s.base, err))
		}
		unix.Close(s.parent)
	}
	t.stubs = nil
	if err := os.Remove(filepath.Join(t.dir, journal)); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, t.dropOriginals())...)
}

// replaced tells whether the step has put a file of its own, or nothing, in the
// place of one with an Original.
func (u *put) replaced() (bool, error) {
	if u.Original == "" {
		return false, nil
	}
	var there node
	err := there.look(u.parent, u.base)
	if errors.Is(err, unix.ENOENT) || err == nil && there.inode() != u.was {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	same, err := snapshot.StillShown(fmt.Sprintf("/proc/self/fd/%d/%s", u.parent, u.base), u.Original)
	return !same, err
}

// takeBack undoes one Put. A step cannot replace what is mounted; so whatever
// else it has left there goes, unless there is an Original.
func (t *Tree) takeBack(u *put) error {
	if own, err := u.replaced(); err != nil || own {
		if u.aside != "" {
			err = errors.Join(err, os.RemoveAll(u.aside))
		}
		return err
	}
	return keepTimes(u.parent, func() error {
		if err := u.clear(); err != nil || u.aside == "" {
			return err
		}
		err := unix.Renameat(unix.AT_FDCWD, u.aside, u.parent, u.base)
		if errors.Is(err, unix.ENOENT) { // the step has removed the directory, and what was in it
			return os.RemoveAll(u.aside)
		}
		if err != nil {
			return err
		}
		m := moved{at: u.at, before: u.before}
		if err := m.after.look(u.parent, u.base); err != nil {
			return err
		}
		t.moved = append(t.moved, m)
		return nil
	})
}

// clear takes away what is at the target.
func (u *put) clear() error {
	var there node
	err := there.look(u.parent, u.base)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if u.Borrowed && there.inode() == u.was {
		err := unix.Renameat(u.parent, u.base, unix.AT_FDCWD, u.Source)
		if !errors.Is(err, unix.ENOENT) { // else nobody wants it back
			return err
		}
	}
	return os.RemoveAll(fmt.Sprintf("/proc/self/fd/%d/%s", u.parent, u.base))
}

// MakeDir makes a directory for a user, and those above it, unless it is there.
// It belongs to the changes of the step.
func (t *Tree) MakeDir(name string, uid, gid uint32) error {
	w, err := t.walker()
	if err != nil {
		return err
	}
	defer w.close()
	w.own, w.uid, w.gid = true, int(uid), int(gid)
	return w.ensure(name)
}

// stub is a directory that was made only for something to be put into it.
type stub struct {
	parent int // open
	base   string
	was    inode
}

// remove removes the directory unless the step has made it its own.
func (s *stub) remove() error {
	var there node
	err := there.look(s.parent, s.base)
	if errors.Is(err, unix.ENOENT) || err == nil && there.inode() != s.was {
		return nil
	}
	if err != nil {
		return err
	}
	return keepTimes(s.parent, func() error {
		err := unix.Unlinkat(s.parent, s.base, unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			return nil // now it is the image's
		}
		return err
	})
}
