package filelock

import (
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is the files in which this process has POSIX locks. Such a lock belongs
// to the process, and closing any descriptor of the file ends all of them: so a
// file is opened once and never closed, and it is noted here which goroutine
// excludes which.
var process = struct {
	sync.Mutex
	files map[fileID]*processFile
}{files: map[fileID]*processFile{}}

type fileID struct{ dev, ino uint64 }

// processFile is an open file and who holds which byte of it.
type processFile struct {
	f      *os.File
	shared map[int64]int // by how many; -1 is one that shares it with nobody
}

// lockByte locks one byte of a file. It makes the file.
func lockByte(path string, at int64, shared bool) (unlock func(), ok bool, err error) {
	process.Lock()
	defer process.Unlock()
	p, err := openProcess(path)
	if err != nil {
		return nil, false, err
	}
	if n := p.shared[at]; n != 0 && (!shared || n < 0) {
		return nil, false, nil
	}
	kind, holders := int16(unix.F_WRLCK), -1
	if shared {
		kind, holders = unix.F_RDLCK, p.shared[at]+1
	}
	lock := unix.Flock_t{Type: kind, Start: at, Len: 1}
	if err := unix.FcntlFlock(p.f.Fd(), unix.F_SETLK, &lock); err != nil {
		if taken(err) {
			err = nil
		}
		return nil, false, err
	}
	p.shared[at] = holders
	return sync.OnceFunc(func() { p.unlock(at) }), true, nil
}

func (p *processFile) unlock(at int64) {
	process.Lock()
	defer process.Unlock()
	if p.shared[at] > 1 {
		p.shared[at]--
		return
	}
	delete(p.shared, at)
	_ = unix.FcntlFlock(p.f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Start: at, Len: 1}) // it ends with the process at the latest
}

// openProcess returns the file, which it opens if it is not open yet.
func openProcess(path string) (*processFile, error) {
	if fi, err := os.Stat(path); err == nil {
		if p := process.files[idOf(fi)]; p != nil {
			return p, nil
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p := &processFile{f: f, shared: map[int64]int{}}
	process.files[idOf(fi)] = p
	return p, nil
}

func idOf(fi fs.FileInfo) fileID {
	st, _ := fi.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino}
}
