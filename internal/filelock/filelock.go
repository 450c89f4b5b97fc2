// Package filelock locks by name in a folder, with the best kind of lock that the
// kernel and the file system have.
//
// Locks of open file descriptions come first: one file is enough for all names.
// gVisor and some network file systems lack them; there it is flock(2) on a file
// for each name, and where that is missing POSIX locks, which this package makes
// exclude the goroutines of one process, too. All processes on one machine find
// the same kind, so that they exclude each other.
package filelock

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrUnsupported is that a file system has no locks of any kind.
var ErrUnsupported = errors.New("this file system has no locks (neither open-file-description locks nor flock nor POSIX locks): choose a folder on another one")

// Set is the locks of one folder, by name. It is safe for concurrent use.
type Set struct {
	dir  string
	kind atomic.Int32 // index into kinds: those before it do not work here
}

// In returns the locks of a folder, which must exist when the first is taken.
func In(dir string) *Set { return &Set{dir: dir} }

// Try takes the exclusive lock of that name; ok tells whether it was free. The
// caller must call unlock. A lock ends with the process that holds it.
func (s *Set) Try(name string) (unlock func(), ok bool, err error) {
	for i := s.kind.Load(); int(i) < len(kinds); i++ {
		unlock, ok, err = kinds[i].try(s.dir, name)
		if err == nil || !unsupported(err) {
			return unlock, ok, err
		}
		s.kind.CompareAndSwap(i, i+1)
	}
	return nil, false, errors.Join(ErrUnsupported, err)
}

// Kind tries a lock and says what kind it is.
func (s *Set) Kind() (string, error) {
	unlock, ok, err := s.Try("kind")
	if err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	if ok {
		unlock()
	}
	return kinds[s.kind.Load()].name, nil
}

// kind is a kind of lock.
type kind struct {
	name string
	try  func(dir, name string) (unlock func(), ok bool, err error)
}
