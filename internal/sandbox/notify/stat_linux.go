package notify

import (
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
)

// stat shows the owner that a file carries. Of a file that carries none the
// kernel tells all there is to tell.
func (s *supervisor) stat(dir int, name, to uint64, flags int) reply {
	return s.statAs(dir, name, to, flags, bytesOf[unix.Stat_t])
}

// statAs writes the structure in the form of one of the interfaces.
func (s *supervisor) statAs(dir int, name, to uint64, flags int, form func(*unix.Stat_t) []byte) reply {
	place, flags, o, ok := s.carries(dir, name, flags)
	if !ok {
		return natural
	}
	var st unix.Stat_t
	if err := unix.Fstatat(unix.AT_FDCWD, place, &st, flags); err != nil {
		return natural
	}
	st.Uid, st.Gid = o.UID, o.GID
	if o.Device != 0 {
		st.Mode = st.Mode&^unix.S_IFMT | deviceMode(o)
		st.Rdev = unix.Mkdev(o.Major, o.Minor)
	}
	if err := s.write(to, form(&st)); err != nil {
		return failed(err)
	}
	return reply{}
}

func (s *supervisor) statx() reply {
	place, flags, o, ok := s.carries(s.fd(0), s.req.args[1], s.flags(2))
	if !ok {
		return natural
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, place, flags, int(uint32(s.req.args[3])), &st); err != nil {
		return natural
	}
	st.Uid, st.Gid = o.UID, o.GID
	if o.Device != 0 {
		st.Mode = st.Mode&^unix.S_IFMT | uint16(deviceMode(o))
		st.Rdev_major, st.Rdev_minor = o.Major, o.Minor
	}
	if err := s.write(s.req.args[4], bytesOf(&st)); err != nil {
		return failed(err)
	}
	return reply{}
}

// carries looks for the attribute of the file that is asked about, and returns
// the place and the flags by which we get at it.
func (s *supervisor) carries(dir int, name uint64, flags int) (string, int, owner.Owner, bool) {
	text, err := s.text(name, flags)
	if err != nil {
		return "", 0, owner.Owner{}, false
	}
	if text == "" {
		flags &^= unix.AT_SYMLINK_NOFOLLOW // the link in /proc is not what is meant
	}
	flags &^= unix.AT_EMPTY_PATH
	place := s.join(dir, text)
	o, err := owner.Get(place, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	return place, flags, o, err == nil && o != owner.Owner{}
}

func deviceMode(o owner.Owner) uint32 {
	if o.Device == 'b' {
		return unix.S_IFBLK
	}
	return unix.S_IFCHR
}
