package notify

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
)

func (s *supervisor) openat2() reply {
	var how unix.OpenHow
	if s.req.args[3] < uint64(len(bytesOf(&how))) || s.readAll(bytesOf(&how), s.req.args[2]) != nil {
		return natural
	}
	if how.Flags&(unix.O_CREAT|anonymous) == 0 {
		return natural
	}
	return s.open(s.fd(0), s.req.args[1], how)
}

// open makes and opens a file that will not simply be root's. A process that
// makes and opens one in one call cannot do half of it itself, and so gets a
// descriptor of ours.
func (s *supervisor) open(dir int, name uint64, how unix.OpenHow) reply {
	text, err := s.text(name, 0)
	if err != nil {
		return natural
	}
	if how.Flags&unix.O_PATH != 0 {
		return natural // makes nothing
	}
	if how.Flags&anonymous != 0 {
		o, ok := s.newOwner(s.join(dir, text))
		if !ok || o == (owner.Owner{}) {
			return natural
		}
		return s.openAs(o, dir, text, how)
	}
	m, ok := s.makeAt(dir, text)
	if !ok || s.exists(s.join(dir, text), how.Flags) {
		return natural
	}
	return s.openAs(m.o, dir, text, how)
}

// exists tells whether there is anything that an open would take or stumble on.
func (s *supervisor) exists(place string, flags uint64) bool {
	if flags&(unix.O_EXCL|unix.O_NOFOLLOW) != 0 {
		return unix.Faccessat(unix.AT_FDCWD, place, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil
	}
	err := unix.Faccessat(unix.AT_FDCWD, place, unix.F_OK, 0)
	return !errors.Is(err, unix.ENOENT)
}

func (s *supervisor) openAs(o owner.Owner, dir int, text string, how unix.OpenHow) reply {
	base := unix.AT_FDCWD
	if !strings.HasPrefix(text, "/") {
		var err error
		if base, err = s.handle(s.base(dir), unix.O_DIRECTORY); err != nil {
			return natural
		}
		defer unix.Close(base)
	}
	cloexec := how.Flags&unix.O_CLOEXEC != 0
	how.Flags |= unix.O_CLOEXEC | unix.O_NOCTTY
	how.Mode &^= uint64(s.umask())
	if !s.alive() {
		return natural
	}
	fd, err := openAt(base, text, &how)
	if errors.Is(err, unix.ENOENT) {
		return natural // leads through /proc/self, perhaps, which for us is another
	}
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	if err := keepOwner(own(fd, ""), true, o); err != nil {
		return failed(err)
	}
	return s.sendFile(fd, cloexec)
}

// openAt prefers the older call, which overlooks flags that do not exist.
func openAt(base int, text string, how *unix.OpenHow) (int, error) {
	if how.Resolve != 0 {
		return unix.Openat2(base, text, how)
	}
	return unix.Openat(base, text, int(how.Flags), uint32(how.Mode))
}
