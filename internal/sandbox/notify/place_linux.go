package notify

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place returns a path under which this thread finds what the calling process
// means: our root directory is its, and a path that it takes from a working
// directory or a handle leads through /proc for us. Where that process dies, the
// number in the path may become another's; so a change wants a pin.
func (s *supervisor) place(dir int, name uint64, flags int) (string, error) {
	text, err := s.text(name, flags)
	if err != nil {
		return "", err
	}
	return s.join(dir, text), nil
}

// text reads a name; an empty one is good only with AT_EMPTY_PATH.
func (s *supervisor) text(name uint64, flags int) (string, error) {
	text, err := "", error(nil)
	if name != 0 || flags&unix.AT_EMPTY_PATH == 0 {
		text, err = s.readString(name)
	}
	if err == nil && text == "" && flags&unix.AT_EMPTY_PATH == 0 {
		err = unix.ENOENT
	}
	return text, err
}

func (s *supervisor) join(dir int, text string) string {
	switch {
	case strings.HasPrefix(text, "/"):
		return text
	case text == "":
		return s.base(dir)
	}
	return s.base(dir) + "/" + text
}

func (s *supervisor) base(dir int) string {
	if dir == unix.AT_FDCWD {
		return s.of("cwd")
	}
	return s.of("fd/" + strconv.Itoa(dir))
}

// itself turns a name that leads through /proc/self, which for us is another
// process, into one of the calling process. The names are those of /dev's links.
func (s *supervisor) itself(text string) (string, bool) {
	for _, n := range [][2]string{
		{"/proc/self/", ""}, {"/proc/thread-self/", ""}, {"/dev/fd/", "fd/"},
		{"/dev/stdin", "fd/0"}, {"/dev/stdout", "fd/1"}, {"/dev/stderr", "fd/2"},
	} {
		if rest, ok := strings.CutPrefix(text, n[0]); ok {
			return s.of(n[1] + rest), true
		}
	}
	return "", false
}

// handle opens a place without opening the file, and makes sure that the place
// was the one of the process that waits.
func (s *supervisor) handle(place string, flags int) (int, error) {
	fd, err := unix.Open(place, flags|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if !s.alive() {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// own names one of our open files, or a name in an open directory.
func own(fd int, name string) string {
	p := "self/fd/" + strconv.Itoa(fd)
	if name != "" {
		p += "/" + name
	}
	return p
}

// split cuts the last name off a path. It is not ok where that is no name which
// something could be made under.
func split(text string) (dir, name string, ok bool) {
	i := strings.LastIndexByte(text, '/')
	dir, name = text[:i+1], text[i+1:]
	return dir, name, name != "" && name != "." && name != ".."
}
