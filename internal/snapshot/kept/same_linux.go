package kept

import (
	"errors"
	"maps"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// same tells whether a file that was touched is what it was: a program changed
// something and changed it back, or put an equal file in its place. Times are
// compared to the nanosecond; so that a program that sets times itself does not
// hide a change, contents are compared with what the layers say.
func (d *differ) same(at int, e layer.Entry, was, is *node) (bool, error) {
	if is.mode != was.mode || is.uid != was.uid || is.gid != was.gid || is.size != was.size || is.modified != was.modified || is.device != was.device {
		return false, nil
	}
	base, ok, err := d.lookup(e.Name)
	if !ok || err != nil || base.Linkname != e.Linkname || !maps.Equal(base.Xattrs, e.Xattrs) || !sameAttributes(&base, &e) {
		return false, err
	}
	if e.Type != layer.Regular {
		return true, nil
	}
	want, err := d.view.Digest(d.ctx, base)
	if err != nil {
		return false, d.ctx.Err() // a layer that cannot be asked, again
	}
	content, err := openRegular(at, is.name)
	if err != nil {
		return false, err
	}
	defer content.Close()
	got, err := want.Algorithm().FromReader(content)
	return got == want, err
}

// sameAttributes compares what may stand in attributes of a file.
func sameAttributes(a, b *layer.Entry) bool {
	return a.Type == b.Type && a.UID == b.UID && a.GID == b.GID && a.Devmajor == b.Devmajor && a.Devminor == b.Devminor
}

// openRegular opens a regular file for reading. Nothing else is ever opened: a
// pipe would block and a device act.
func openRegular(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("is no regular file")
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
