package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dirFile is made in a folder that cannot be locked itself.
const dirFile = "lock"

// Dir is a folder that is locked.
type Dir struct {
	// File is the folder, open. A process that inherits it keeps the lock, where
	// the file system has flock(2).
	File   *os.File
	unlock func()
}

// LockDir locks a folder, if nobody else does; nil says that somebody does. With
// shared, others that share it may lock it too. Where a folder cannot be locked, it
// makes a file "lock" in it.
func LockDir(path string, shared bool) (*Dir, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{File: f, unlock: func() {}}
	ok, err := d.lock(path, shared)
	if err != nil || !ok {
		f.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dir) lock(path string, shared bool) (ok bool, err error) {
	how := unix.LOCK_EX | unix.LOCK_NB
	if shared {
		how = unix.LOCK_SH | unix.LOCK_NB
	}
	err = flockDir(int(d.File.Fd()), how)
	if err == nil || taken(err) {
		return err == nil, nil
	}
	if !unsupported(err) {
		return false, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	file := filepath.Join(path, dirFile)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	if err = flockFile(int(f.Fd()), how); err == nil {
		d.unlock = func() { f.Close() }
		return true, nil
	}
	if f.Close(); taken(err) {
		return false, nil
	}
	if !unsupported(err) {
		return false, &fs.PathError{Op: "lock", Path: file, Err: err}
	}
	unlock, ok, err := lockByte(file, 0, shared)
	if err != nil && unsupported(err) {
		err = errors.Join(ErrUnsupported, err)
	}
	if ok {
		d.unlock = unlock
	}
	return ok, err
}

// flockDir and flockFile are variables for tests of what lacks them.
var flockDir, flockFile = unix.Flock, unix.Flock

// Close ends the lock.
func (d *Dir) Close() error {
	d.unlock()
	return d.File.Close()
}
