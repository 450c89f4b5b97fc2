package inroot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is a directory that paths are looked up in, held open. It may be used by
// several goroutines.
type Root struct {
	fd   int
	name string
}

// OpenRoot opens the directory dir; unlike the paths below it, this one is the
// caller's own and may lead through links. name says in errors what the directory
// is, such as "the image". The root must be closed.
func OpenRoot(dir, name string) (*Root, error) {
	fd, err := retry(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, fmt.Errorf("open %s, %s: %w", name, dir, err)
	}
	return NewRoot(fd, name), nil
}

// NewRoot takes over the descriptor of a directory.
func NewRoot(fd int, name string) *Root { return &Root{fd, name} }

// FD is the descriptor of the directory.
func (r *Root) FD() int { return r.fd }

// Close closes the directory.
func (r *Root) Close() { unix.Close(r.fd) }

// Open is the function Open, with errors that say what could not be opened where.
func (r *Root) Open(name string, flags int, rule Rule) (int, error) {
	fd, err := Open(r.fd, name, flags, rule)
	if err != nil {
		return -1, r.failure("open", name, err)
	}
	return fd, nil
}

func (r *Root) failure(deed, name string, err error) error {
	return fmt.Errorf("%s %s in %s: %w", deed, name, r.name, err)
}

// PathOf returns where an open file is in the tree: an absolute path in it that
// is free of links. It needs /proc.
func (r *Root) PathOf(fd int) (string, error) {
	root, err := readlink(unix.AT_FDCWD, fdPath(r.fd))
	if err != nil {
		return "", fmt.Errorf("find the path of %s: %w", r.name, err)
	}
	full, err := readlink(unix.AT_FDCWD, fdPath(fd))
	if err != nil {
		return "", fmt.Errorf("find the path of a file in %s: %w", r.name, err)
	}
	inside, ok := strings.CutPrefix(full, strings.TrimSuffix(root, "/"))
	if !ok || inside != "" && inside[0] != '/' {
		return "", fmt.Errorf("%s is outside of %s, %s", full, r.name, root)
	}
	return path.Join("/", inside), nil
}

// ReadFile reads a regular file of at most limit bytes, within the tree. Nothing
// else is opened: a pipe would make us wait, and a device may do anything.
func (r *Root) ReadFile(name string, limit int64) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, r.failure("read", name, err) }
	fd, err := Open(r.fd, name, unix.O_PATH, Within)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(errors.New("not a regular file"))
	}
	f, err := os.OpenFile(fdPath(fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return fail(err)
	}
	if int64(len(data)) > limit {
		return fail(fmt.Errorf("it exceeds %d MiB", limit>>20))
	}
	return data, nil
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
