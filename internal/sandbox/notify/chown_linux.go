package notify

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
)

// chown changes the owner that a file carries.
func (s *supervisor) chown(dir int, name uint64, uid, gid uint32, flags int) reply {
	text, err := s.text(name, flags)
	if err != nil {
		return natural
	}
	open := 0
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 && text != "" {
		open = unix.O_NOFOLLOW
	}
	fd, err := s.handle(s.join(dir, text), open)
	if errors.Is(err, unix.ENOENT) {
		if place, ok := s.itself(text); ok {
			fd, err = s.handle(place, open)
		}
	}
	if err != nil {
		return natural
	}
	defer unix.Close(fd)
	return s.chownFile(fd, uid, gid)
}

func (s *supervisor) chownFile(fd int, uid, gid uint32) reply {
	o, err := owner.Get(own(fd, ""), true)
	if err != nil {
		return failed(err)
	}
	if !s.identity().mayChown(o, uid, gid) {
		return reply{errno: unix.EPERM}
	}
	// Also for real: it takes set-id bits and capabilities away, sets the time
	// of the change, and fails where nothing can be changed.
	if err := unix.Fchownat(fd, "", mapped(uid), mapped(gid), unix.AT_EMPTY_PATH); err != nil {
		return failed(err)
	}
	change(&o.UID, uid)
	change(&o.GID, gid)
	if err := keepOwner(own(fd, ""), true, o); err != nil {
		return failed(err)
	}
	return reply{}
}

// mapped is the one id there is, for any id.
func mapped(id uint32) int {
	if id == keep {
		return -1
	}
	return 0
}

// mayChown: root may give everything away, an owner may give a file to one of
// its groups.
func (id *identity) mayChown(o owner.Owner, uid, gid uint32) bool {
	if id.root() {
		return true
	}
	return id.user.fs == o.UID && (uid == keep || uid == o.UID) &&
		(gid == keep || gid == o.GID || gid == id.group.fs || slices.Contains(id.groups, gid))
}

// keepOwner does nothing on a file system without attributes, as in /proc.
func keepOwner(place string, follow bool, o owner.Owner) error {
	err := owner.Set(place, follow, o)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}
