package tree

import (
	"errors"
	"maps"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// sameFile tells whether a file of upper is what the lower trees show anyway:
// a program opened it for writing, or changed something and changed it back.
// Times are compared to the nanosecond, as a copy-up keeps them; so that a
// program that sets times itself does not hide a change, contents are compared
// as well.
func (d *differ) sameFile(f *frame, name string, st *unix.Stat_t, e layer.Entry) (bool, error) {
	lst, at, err := f.low.lookup(name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st.Size != lst.Size || st.Mtim != lst.Mtim || st.Rdev != lst.Rdev || linkedAnew(st) {
		return false, nil
	}
	if same, err := d.sameMeta(e, lst, at); !same || err != nil {
		return false, err
	}
	switch e.Type {
	case layer.Symlink:
		target, err := readlinkAt(at.fd, at.name)
		return target == e.Linkname, err
	case layer.Regular:
		return compareContent(f.fd, name, st, at)
	}
	return true, nil
}

// linkedAnew tells whether a regular file has several names in upper: the step has
// given it one, as overlayfs copies a file under one name alone. All of them are
// recorded, the old one too, although it shows nothing new: the layer could not say
// otherwise that they are one file.
func linkedAnew(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 1
}

// timeGiven tells whether a directory, which has the time was below, was given the
// time is by a program.
func (d *differ) timeGiven(is, was unix.Timespec) bool {
	t := time.Unix(is.Unix())
	return is != was && !d.o.Since.IsZero() && (t.Before(d.o.Since) || t.After(time.Now()))
}

func compareContent(fd int, name string, st *unix.Stat_t, at *lowerFile) (bool, error) {
	a, err := openRegular(fd, name)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := at.openFile()
	if err != nil {
		return false, err
	}
	defer b.Close()
	return sameContent(Content(a, st), b)
}

// sameMeta compares type, mode, owner, device and attributes.
func (d *differ) sameMeta(e layer.Entry, st *unix.Stat_t, at *lowerFile) (bool, error) {
	low, err := d.o.Form.entry(at.fd, at.name, st)
	same := low.Type == e.Type && low.Mode == e.Mode && low.UID == e.UID && low.GID == e.GID &&
		low.Devmajor == e.Devmajor && low.Devminor == e.Devminor
	return same && maps.Equal(low.Xattrs, e.Xattrs), err
}

// wholeSeconds gives a file of upper the time its entry has.
func (d *differ) wholeSeconds(at int, name string, st *unix.Stat_t, always bool) error {
	if st.Mtim.Nsec == 0 && !always {
		return nil
	}
	t := st.Mtim
	t.Nsec = 0
	return unix.UtimesNanoAt(at, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func seconds(s int64) unix.Timespec { return unix.NsecToTimespec(s * 1e9) }
