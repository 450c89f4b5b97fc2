//go:build darwin || freebsd || netbsd || openbsd

package local

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

const openNonblock = syscall.O_NONBLOCK

func statOf(fi fs.FileInfo) fileStat {
	s := fileStat{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.ctime, s.ino, s.dev = changeTime(st), uint64(st.Ino), uint64(st.Dev)
	}
	return s
}

// statExtra returns the number of links and the device number.
func statExtra(fi fs.FileInfo) (links uint64, major, minor int64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 1, 0, 0
	}
	dev := uint64(st.Rdev)
	return uint64(st.Nlink), int64(unix.Major(dev)), int64(unix.Minor(dev))
}
