package cache

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// tempOwner is who a Dir is among all that write to a store at the moment: a
// number, held by a lock that ends with the process. What is being written has
// it in front of its name, so that what has the number of nobody is known for
// what a dead process left. The number is given back when the Dir is collected.
type tempOwner struct {
	mu     sync.Mutex
	prefix string // "3."; empty before it is needed
	unlock func()
}

// TempFile makes a file in the store's file system. The caller removes it or
// moves it away, and keeps d for as long: when the process dies before, or d is
// nobody's any more, whoever opens the store next removes it.
func (d *Dir) TempFile(pattern string) (*os.File, error) {
	prefix, err := d.owner()
	if err != nil {
		return nil, err
	}
	return os.CreateTemp(d.sub("tmp"), prefix+pattern)
}

// TempDir makes a directory as TempFile makes a file.
func (d *Dir) TempDir(pattern string) (string, error) {
	prefix, err := d.owner()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(d.sub("tmp"), prefix+pattern)
}

// owner returns what the names of this Dir's temporary files begin with.
func (d *Dir) owner() (string, error) {
	d.temp.mu.Lock()
	defer d.temp.mu.Unlock()
	for n := 0; d.temp.prefix == ""; n++ {
		unlock, ok, err := d.TryLock(tempLock(n))
		if err != nil {
			return "", fmt.Errorf("temporary file: %w", err)
		}
		if !ok {
			continue
		}
		d.temp.prefix, d.temp.unlock = strconv.Itoa(n)+".", unlock
		for _, left := range d.temporaries()[n] {
			_ = os.RemoveAll(left) // it would now be taken for ours; see sweepTemp
		}
	}
	return d.temp.prefix, nil
}

func tempLock(n int) string { return "temporary files of " + strconv.Itoa(n) }

// sweepTemp removes the temporary files of dead processes. What cannot be removed
// harms nobody, and the next one tries again.
func (d *Dir) sweepTemp() {
	for n, left := range d.temporaries() {
		unlock, ok, err := d.TryLock(tempLock(n))
		if !ok || err != nil {
			continue // somebody's
		}
		for _, path := range left {
			_ = os.RemoveAll(path)
		}
		unlock()
	}
}

// temporaries are the paths of the temporary files that have a number.
func (d *Dir) temporaries() map[int][]string {
	entries, _ := os.ReadDir(d.sub("tmp")) // unreadable: nothing is removed
	var found map[int][]string
	for _, e := range entries {
		number, _, ok := strings.Cut(e.Name(), ".")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		if found == nil {
			found = map[int][]string{}
		}
		found[n] = append(found[n], filepath.Join(d.sub("tmp"), e.Name()))
	}
	return found
}
