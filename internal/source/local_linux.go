package source

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/ocibuild/ocibuild/layer"
	"golang.org/x/sys/unix"
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

// openat opens name without following any symbolic link. One openat2 is much
// cheaper than a walk through the parents, which is what kernels before 5.6
// and some sandboxes leave us.
func (r *hostRoot) openat(name string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(r.fd, name, &how) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return r.openatStepwise(name, flags)
	}
	return fd, err
}

func (r *hostRoot) openatStepwise(name string, flags int) (int, error) {
	elems := strings.Split(name, "/")
	at := r.fd
	for i, elem := range elems {
		f := unix.O_PATH | unix.O_DIRECTORY
		if i == len(elems)-1 {
			f = flags
		}
		fd, err := retry(func() (int, error) { return unix.Openat(at, elem, f|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
		if at != r.fd {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

// open opens a regular file for reading. It never waits for the other end of a
// fifo that took the place of the file.
func (r *hostRoot) open(name string) (*os.File, fileStat, error) {
	fd, err := r.openat(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, fileStat{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fileStat{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, fileStat{}, errors.New("is no longer a regular file")
	}
	return os.NewFile(uintptr(fd), name), statOf(&st), nil
}

func statFile(f *os.File) (fileStat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileStat{}, err
	}
	return statOf(&st), nil
}

// hostDir is one open directory.
type hostDir struct {
	file *os.File
	fd   int
	proc string // "/proc/self/fd/N/"
}

func (r *hostRoot) openDir(name string) (*hostDir, error) {
	fd, err := r.openat(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &hostDir{os.NewFile(uintptr(fd), name), fd, "/proc/self/fd/" + strconv.Itoa(fd) + "/"}, nil
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

// xattrs returns the attributes that belong into an image. A file system
// without attributes, and one that will not tell, has none: what a context
// says here is a wish, not a promise.
func (d *hostDir) xattrs(base string) map[string]string {
	// There is no listxattrat in most kernels; the way through /proc follows
	// our own descriptor and nothing else.
	file := d.proc + base
	n, err := unix.Llistxattr(file, nil)
	if err != nil || n == 0 {
		return nil
	}
	buf := make([]byte, n+256)
	if n, err = unix.Llistxattr(file, buf); err != nil {
		return nil
	}
	var attrs map[string]string
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name != "security.capability" && !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value, err := getxattr(file, name)
		if err != nil {
			continue
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = value
	}
	return attrs
}

func getxattr(file, name string) (string, error) {
	n, err := unix.Lgetxattr(file, name, nil)
	if err != nil {
		return "", err
	}
	buf := make([]byte, n+64)
	n, err = unix.Lgetxattr(file, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) { // EAGAIN: openat2 met a rename
			return n, err
		}
	}
}
