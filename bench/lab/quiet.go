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
	return eachFile(path, func(f *os.File) error {
		_, err := io.Copy(io.Discard, f)
		return err
	})
}

// Unsettle lets the kernel forget what is in the files below path, so that the
// next to read them waits for the disk. On a file system without one, such as
// tmpfs, it does nothing.
func Unsettle(path string) error {
	unix.Sync() // what is not on the disk yet is not forgotten
	return eachFile(path, func(f *os.File) error {
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// eachFile opens all regular files below path.
func eachFile(path string, do func(*os.File) error) error {
	return filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return do(f)
	})
}
