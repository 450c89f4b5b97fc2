package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks one byte of one file, far behind its end: the names of all
// locks that ever were need no files of their own. Locks of open file
// descriptions exclude goroutines of one process as well (fcntl(2), F_OFD_SETLK).
func (d *Dir) tryLock(name string) (func(), bool, error) {
	f, err := os.OpenFile(d.sub("locks", "all"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	sum := sha256.Sum256([]byte(name))
	// 62 bits, so that the byte after the last has a number too.
	at := int64(binary.BigEndian.Uint64(sum[:8]) >> 2)
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
	switch err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); {
	case err == nil:
		return func() { f.Close() }, true, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return nil, false, f.Close()
	default:
		f.Close()
		return nil, false, err
	}
}
