package notify

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
)

// list leaves our attributes out of the names of a file's attributes.
func (s *supervisor) list(dir int, name uint64, flags int) reply {
	place, err := s.place(dir, name, flags)
	if err != nil {
		return natural
	}
	follow := flags&unix.AT_SYMLINK_NOFOLLOW == 0
	o, err := owner.Get(place, follow)
	if err != nil || o == (owner.Owner{}) {
		return natural
	}
	list := unix.Llistxattr
	if follow {
		list = unix.Listxattr
	}
	names := make([]byte, 64<<10) // the kernel's limit
	n, err := list(place, names)
	if err != nil {
		return natural
	}
	var rest strings.Builder
	text := owner.Attr // of the two, the one that the file carries
	if !strings.Contains(string(names[:n]), text) {
		text = owner.Capability
	}
	for name := range strings.SplitAfterSeq(string(names[:n]), "\x00") {
		if strings.TrimSuffix(name, "\x00") != text {
			rest.WriteString(name)
		}
	}
	size := s.req.args[2]
	switch {
	case size == 0:
	case uint64(rest.Len()) > size:
		return reply{errno: unix.ERANGE}
	default:
		if err := s.write(s.req.args[1], []byte(rest.String())); err != nil {
			return failed(err)
		}
	}
	return reply{value: int64(rest.Len())}
}
