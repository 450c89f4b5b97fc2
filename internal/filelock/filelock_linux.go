package filelock

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// kinds are in the order in which they are tried.
var kinds = []kind{
	{"open file descriptions", tryDescription},
	{"flock", tryFlock},
	{"POSIX", tryProcess},
}

// unsupported tells that a kind of lock is missing. EBADF is what NFS says to an
// exclusive flock of a file that is open for reading only.
func unsupported(err error) bool {
	for _, e := range []error{unix.EINVAL, unix.ENOSYS, unix.ENOTSUP, unix.ENOLCK, unix.EBADF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// taken tells that somebody else holds the lock.
func taken(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES)
}

// allFile is the one file of the kinds that lock bytes. They lie far behind its
// end: the names of all locks that ever were need no files of their own.
const allFile = "all"

// byteOf is the byte that stands for a name.
func byteOf(sum [sha256.Size]byte) int64 {
	// 62 bits, so that the byte after the last has a number too.
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 2)
}

// tryDescription uses locks of open file descriptions, which exclude goroutines
// of one process as well (fcntl(2), F_OFD_SETLK).
func tryDescription(dir, name string) (func(), bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, allFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: byteOf(sha256.Sum256([]byte(name))), Len: 1}
	switch err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); {
	case err == nil:
		return func() { f.Close() }, true, nil
	case taken(err):
		return nil, false, f.Close()
	default:
		f.Close()
		return nil, false, err
	}
}

// tryFlock locks a file of that name, which is removed with the lock.
func tryFlock(dir, name string) (func(), bool, error) {
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(dir, "name-"+hex.EncodeToString(sum[:16]))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if taken(err) {
			err = nil
		}
		return nil, false, err
	}
	// Whoever held it before may have removed this file: then a third one can
	// have made and locked another.
	ours, err := f.Stat()
	if now, serr := os.Stat(path); err != nil || serr != nil || !os.SameFile(ours, now) {
		return nil, false, errors.Join(err, f.Close())
	}
	return func() {
		_ = os.Remove(path) // a file that stays is locked like any other
		f.Close()
	}, true, nil
}

// tryProcess uses POSIX locks.
func tryProcess(dir, name string) (func(), bool, error) {
	return lockByte(filepath.Join(dir, allFile), byteOf(sha256.Sum256([]byte(name))), false)
}
