package lab

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Settle waits until the machine has written what others have left to be written,
// and reads all that is in path, so that the disk takes no part in what is
// measured next: machines keep files in memory for longer or shorter.
func Settle(path string) error {
	unix.Sync()
	return filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	})
}
