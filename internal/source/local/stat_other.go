//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd

package local

import "io/fs"

const openNonblock = 0 // no fifo can stand in a directory

// statOf has no change time and no inode to offer: the index goes by size and
// modification time here.
func statOf(fi fs.FileInfo) fileStat {
	return fileStat{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
}

// statExtra returns the number of links and the device number.
func statExtra(fs.FileInfo) (links uint64, major, minor int64) { return 1, 0, 0 }
