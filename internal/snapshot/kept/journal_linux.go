package kept

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

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
	journals, err := filepath.Glob(filepath.Join(temp, "*", journal))
	if err != nil {
		return err
	}
	for _, j := range journals {
		data, err := os.ReadFile(j)
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			var n note
			if json.Unmarshal(lines.Bytes(), &n) != nil {
				break // it died while writing it: nothing was moved yet
			}
			if err := n.giveBack(filepath.Join(filepath.Dir(j), treeDir)); err != nil {
				return fmt.Errorf("return %s: %w", n.Source, err)
			}
		}
	}
	return nil
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
