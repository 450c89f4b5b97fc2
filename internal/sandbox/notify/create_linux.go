package notify

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
)

// making is a file that is about to be made.
type making struct {
	parent, name string // a place, and a name in it
	o            owner.Owner
}

// make prepares the making of a file that will not simply be root's. With false
// the kernel can do it alone, or tell what is wrong.
func (s *supervisor) make(dir int, name uint64) (*making, bool) {
	text, err := s.text(name, 0)
	if err != nil {
		return nil, false
	}
	return s.makeAt(dir, text)
}

func (s *supervisor) makeAt(dir int, text string) (*making, bool) {
	above, base, ok := split(text)
	if !ok {
		return nil, false
	}
	m := &making{parent: s.join(dir, above), name: base}
	if m.o, ok = s.newOwner(m.parent); !ok {
		return nil, false
	}
	return m, m.o != owner.Owner{}
}

// newOwner is whose a file will be that the calling process makes in a
// directory: its own, but for the group where the directory passes on its.
func (s *supervisor) newOwner(dir string) (owner.Owner, bool) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return owner.Owner{}, false
	}
	id := s.identity()
	o := owner.Owner{UID: id.user.fs, GID: id.group.fs}
	if st.Mode&unix.S_ISGID != 0 {
		above, err := owner.Get(dir, true)
		if err != nil {
			return owner.Owner{}, false
		}
		o.GID = above.GID
	}
	return o, true
}

// do makes the file in the directory it is to be in, and gives it its owner.
func (s *supervisor) do(m *making, make func(dir int) error) reply {
	dir, err := s.handle(m.parent, unix.O_DIRECTORY)
	if err != nil {
		return natural
	}
	defer unix.Close(dir)
	if err := make(dir); err != nil {
		return failed(err)
	}
	if err := keepOwner(own(dir, m.name), false, m.o); err != nil {
		return failed(err)
	}
	return reply{}
}

func (s *supervisor) mkdir(dir int, name uint64, mode uint32) reply {
	text, err := s.text(name, 0)
	if err != nil {
		return natural
	}
	m, ok := s.makeAt(dir, strings.TrimRight(text, "/"))
	if !ok {
		return natural
	}
	mode &^= s.umask()
	return s.do(m, func(dir int) error { return unix.Mkdirat(dir, m.name, mode) })
}

func (s *supervisor) symlink(target uint64, dir int, name uint64) reply {
	m, ok := s.make(dir, name)
	if !ok {
		return natural
	}
	to, err := s.text(target, 0)
	if err != nil {
		return natural
	}
	return s.do(m, func(dir int) error { return unix.Symlinkat(to, dir, m.name) })
}

func (s *supervisor) mknod(dir int, name uint64, mode uint32, device uint64) reply {
	kind := mode & unix.S_IFMT
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		return s.mkdev(dir, name, mode, device)
	}
	m, ok := s.make(dir, name)
	if !ok {
		return natural
	}
	mode &^= s.umask()
	return s.do(m, func(dir int) error { return unix.Mknodat(dir, m.name, mode, 0) })
}

// mkdev makes a file that says which device it stands for. Device 0:0 is what
// overlayfs hides files with, and refused as on overlayfs.
func (s *supervisor) mkdev(dir int, name uint64, mode uint32, device uint64) reply {
	if device = uint64(uint32(device)); !s.identity().root() || device == 0 {
		return reply{errno: unix.EPERM}
	}
	text, err := s.text(name, 0)
	if err != nil {
		return natural
	}
	m, ok := &making{}, false
	above, base, ok := split(text)
	if ok {
		m.parent, m.name = s.join(dir, above), base
		m.o, ok = s.newOwner(m.parent)
	}
	if !ok {
		return natural
	}
	m.o.Device = 'c'
	if mode&unix.S_IFMT == unix.S_IFBLK {
		m.o.Device = 'b'
	}
	m.o.Major, m.o.Minor = unix.Major(device), unix.Minor(device)
	mode = mode &^ s.umask() & 0o777
	return s.do(m, func(dir int) error {
		fd, err := unix.Openat(dir, m.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}

// umask is that of the calling process. Ours is zero.
func (s *supervisor) umask() uint32 {
	n, err := strconv.ParseUint(status(s.of(""), "Umask"), 8, 32)
	if err != nil {
		return 0o022 // it is dead
	}
	return uint32(n)
}
