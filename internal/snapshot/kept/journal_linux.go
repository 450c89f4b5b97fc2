package kept

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// note is a line of a tree's journal: what was borrowed, and where it is put.
type note struct {
	Source string // absolute
	At     string // in the tree
	Number uint64 // of the inode
	Born   [2]int64
}

// note writes into the journal, before it is done, that something is borrowed.
func (t *Tree) note(u *put) error {
	line, err := json.Marshal(note{u.Source, u.at, u.was.number, [2]int64{u.was.born.sec, u.was.born.nsec}})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(t.dir, journal), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// rescue returns what the trees of a dead manager have borrowed.
func rescue(temp string) error {
	return eachNote(temp, func(n *note, tree string) error {
		if err := n.giveBack(filepath.Join(tree, treeDir)); err != nil {
			return fmt.Errorf("return %s: %w", n.Source, err)
		}
		return nil
	})
}

// eachNote calls f with what the trees of a manager have borrowed.
func eachNote(temp string, f func(n *note, tree string) error) error {
	trees, err := os.ReadDir(temp) // no pattern: a store's path may look like one
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, t := range trees {
		j := filepath.Join(temp, t.Name(), journal)
		data, err := cache.ReadRegular(j)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			var n note
			if json.Unmarshal(lines.Bytes(), &n) != nil {
				break // it died while writing it: nothing was moved yet
			}
			if err := f(&n, filepath.Dir(j)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Recall returns something that is borrowed by a process that is about to die, or
// has died since this manager was made: the caller knows that no other can have it.
// When it returns nobody has it any more.
func (m *Manager) Recall(ctx context.Context, source string) error {
	for {
		holders, err := m.holders(source)
		if err != nil || len(holders) == 0 {
			return err
		}
		for _, h := range holders {
			if _, err := snapshot.SweepOne(h, rescue); err != nil {
				return err
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// holders are the directories of other managers that have noted something.
func (m *Manager) holders(source string) ([]string, error) {
	beside := filepath.Dir(m.temp.Path)
	all, err := os.ReadDir(beside)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range all {
		temp := filepath.Join(beside, e.Name())
		if !strings.HasPrefix(e.Name(), prefix) || temp == m.temp.Path {
			continue
		}
		noted := false
		err := eachNote(temp, func(n *note, _ string) error {
			noted = noted || n.Source == source
			return nil
		})
		if err != nil {
			return nil, err
		}
		if noted {
			found = append(found, temp)
		}
	}
	return found, nil
}

// giveBack moves what is still where it was put. If it is not, it was moved back
// already, or the step has moved or removed it.
func (n *note) giveBack(root string) error {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(fd)
	parent, err := tree.OpenDir(fd, path.Dir(n.At))
	if err != nil {
		return gone(err)
	}
	defer unix.Close(parent)
	var there node
	if err := there.look(parent, path.Base(n.At)); err != nil {
		return gone(err)
	}
	if there.inode() != (inode{n.Number, stamp{n.Born[0], n.Born[1]}}) {
		return nil
	}
	err = unix.Renameat2(parent, path.Base(n.At), unix.AT_FDCWD, n.Source, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return nil // somebody has made another one
	}
	return gone(err)
}

// gone is nil for errors that say that a file is not there.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}
