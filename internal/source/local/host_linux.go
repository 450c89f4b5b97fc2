package local

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
	"github.com/ocibuild/ocibuild/layer"
)

const openNonblock = unix.O_NONBLOCK

// hostRoot is the directory below which everything is looked up. It is held by
// descriptor, so that it stays the same directory.
type hostRoot struct{ fd int }

func openHostRoot(dir string) (*hostRoot, error) {
	fd, err := retry(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	return &hostRoot{fd}, nil
}

func (r *hostRoot) close() error { return unix.Close(r.fd) }

// openat opens name without following any symbolic link.
func (r *hostRoot) openat(name string, flags int) (int, error) {
	return inroot.Open(r.fd, name, flags|unix.O_NOFOLLOW, inroot.Plain)
}

// open opens a regular file for reading. It never waits for the other end of a
// fifo that took the place of the file.
func (r *hostRoot) open(name string) (hostFile, fileStat, error) {
	fd, err := r.openat(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return -1, fileStat{}, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("is no longer a regular file")
	}
	if err != nil {
		unix.Close(fd)
		return -1, fileStat{}, err
	}
	return hostFile(fd), statOf(&st), nil
}

// hostFile is an open regular file. An os.File would ask for each of many files
// whether it can be waited for.
type hostFile int

func (f hostFile) Read(p []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(int(f), p) })
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// residency tells whether the first byte is in the page cache. File systems that
// cannot say so, and kernels before Linux 4.14, leave it unsure.
func (f hostFile) residency() residency {
	var first [1]byte
	_, err := retry(func() (int, error) { return unix.Preadv2(int(f), [][]byte{first[:]}, 0, unix.RWF_NOWAIT) })
	switch {
	case err == nil:
		return inMemory
	case errors.Is(err, unix.EAGAIN):
		return onDisk
	}
	return unsure
}

// willNeed tells the kernel that the first n bytes will be read.
func (f hostFile) willNeed(n int64) { _ = unix.Fadvise(int(f), 0, n, unix.FADV_WILLNEED) }

// ReadAt implements io.ReaderAt.
func (f hostFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := retry(func() (int, error) { return unix.Pread(int(f), p, off) })
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f hostFile) stat() (fileStat, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f), &st)
	return statOf(&st), err
}

func (f hostFile) Close() error { return unix.Close(int(f)) }

// hostDir is one open directory.
type hostDir struct {
	file *os.File
	fd   int
}

func (r *hostRoot) openDir(name string) (*hostDir, error) {
	fd, err := r.openat(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &hostDir{os.NewFile(uintptr(fd), name), fd}, nil
}

func (d *hostDir) close() { d.file.Close() }

func (d *hostDir) names() ([]string, error) { return d.file.Readdirnames(-1) }

func (d *hostDir) lstat(base string) (hostInfo, error) {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return hostInfo{}, err
	}
	info := hostInfo{mode: st.Mode & 0o7777, links: uint64(st.Nlink), stat: statOf(&st)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		info.typ = layer.Regular
	case unix.S_IFDIR:
		info.typ = layer.Directory
	case unix.S_IFLNK:
		info.typ = layer.Symlink
	case unix.S_IFIFO:
		info.typ = layer.Fifo
	case unix.S_IFSOCK:
		info.typ = socket
	case unix.S_IFCHR:
		info.typ = layer.Char
	case unix.S_IFBLK:
		info.typ = layer.Block
	}
	if info.typ == layer.Char || info.typ == layer.Block {
		info.major, info.minor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	}
	return info, nil
}

func statOf(st *unix.Stat_t) fileStat {
	return fileStat{size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), ino: st.Ino, dev: uint64(st.Dev)}
}

func (d *hostDir) readlink(base string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := retry(func() (int, error) { return unix.Readlinkat(d.fd, base, buf) })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
