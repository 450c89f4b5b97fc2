package tree

import (
	"errors"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
	"github.com/ocibuild/ocibuild/layer"
)

// openBeneath opens a directory below another one, as a place to name files in,
// and follows nothing: a symbolic link anywhere in name is ELOOP.
func openBeneath(at int, name string) (int, error) {
	return inroot.Open(at, name, unix.O_PATH|unix.O_DIRECTORY, inroot.Plain)
}

// openDir opens a directory for reading; the last component is not followed.
func openDir(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func statAt(at int, name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	return &st, nil
}

func isDir(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }

func isLink(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFLNK }

// isWhiteout tells whether overlayfs takes the file for a whiteout.
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func readlinkAt(at int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(at, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func futimens(fd int, ts []unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(fd, ""), ts, 0)
}

// modeOf is the kernel's name for a type.
var modeOf = map[layer.Type]uint32{
	layer.Regular: unix.S_IFREG, layer.Directory: unix.S_IFDIR, layer.Symlink: unix.S_IFLNK,
	layer.Char: unix.S_IFCHR, layer.Block: unix.S_IFBLK, layer.Fifo: unix.S_IFIFO,
}

// entry describes the file name in the directory at, all but its place in the
// tree. The type of a socket, which no layer holds, is zero.
func (f Form) entry(at int, name string, st *unix.Stat_t) (layer.Entry, error) {
	e := layer.Entry{Mode: uint32(st.Mode) & 0o7777, UID: int(st.Uid), GID: int(st.Gid), ModTime: int64(st.Mtim.Sec)}
	for t, mode := range modeOf {
		if uint32(st.Mode)&unix.S_IFMT == mode {
			e.Type = t
		}
	}
	var err error
	switch e.Type {
	case 0:
		return e, nil
	case layer.Regular:
		e.Size = st.Size
	case layer.Symlink:
		e.Linkname, err = readlinkAt(at, name)
	case layer.Char, layer.Block:
		e.Devmajor, e.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	}
	if err == nil {
		err = f.readXattrs(procPath(at, name), &e)
	}
	return e, err
}

// procPath names the file name in the directory fd (or the file fd itself) for
// the calls on extended attributes, which have no *at form on older kernels.
func procPath(fd int, name string) string {
	p := "/proc/self/fd/" + strconv.Itoa(fd)
	if name != "" {
		p += "/" + name
	}
	return p
}

// sortedNames lists the directory fd in byte order.
func sortedNames(fd int) ([]string, error) {
	dup, err := openDir(fd, ".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// removeAt removes a file or a whole directory tree without following links.
func removeAt(at int, name string) error {
	err := unix.Unlinkat(at, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	st, serr := statAt(at, name)
	if serr != nil || !isDir(st) {
		return err
	}
	fd, err := openDir(at, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	names, err := sortedNames(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAt(fd, n); err != nil {
			return err
		}
	}
	return unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
}
