package stage

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// tree is the root of the step while it is being furnished.
type tree struct {
	root  *inroot.Root // on the step's own mount of it
	mount uint64       // its mount, to tell the image's directories from mounted ones
	uid   uint32
	gid   uint32
	noted bool // owners stand in attributes
}

// A place is what ensure makes when nothing is there.
type place int

const (
	stubDir  place = iota // carries a mount, goes away after the step
	stubFile              // the same, a file
	ownDir                // belongs to the step's user and stays
)

// open returns a handle of name, with symbolic links meant as inside the root.
func (t *tree) open(name string) (int, error) {
	return t.root.Open(name, unix.O_PATH, inroot.Within)
}

// ensure opens name and makes it, and the directories above it, when missing.
func (t *tree) ensure(name string, p place) (int, error) {
	above := p
	if p == stubFile {
		above = stubDir
	}
	at, err := t.root.Place(name, func(dir int, base string) (int, error) { return t.create(dir, base, above) })
	if err != nil {
		return -1, err
	}
	if at.FD >= 0 {
		return at.FD, nil
	}
	defer unix.Close(at.Dir)
	fd, err := t.create(at.Dir, at.Base, p)
	if errors.Is(err, unix.EEXIST) { // another step, which shares what is mounted there, was faster
		return t.open(name)
	}
	return fd, err
}

// create makes name in dir. A stub is reported, and the times of the directory
// are put back at once: so the step sees the image's times, and whoever removes
// the stub later has only to keep what it finds.
func (t *tree) create(dir int, name string, p place) (int, error) {
	var before unix.Stat_t
	if err := unix.Fstat(dir, &before); err != nil {
		return -1, err
	}
	var err error
	if p == stubFile {
		err = touch(dir, name)
	} else {
		err = unix.Mkdirat(dir, name, 0o755)
	}
	if err != nil {
		return -1, err
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if p == ownDir {
		err = setOwner(fd, t.uid, t.gid, t.noted)
	} else if mountOf(dir) == t.mount {
		err = t.remember(dir, fd, name, &before)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func touch(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func (t *tree) remember(dir, fd int, name string, before *unix.Stat_t) error {
	var st, parent unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	// Once more: overlayfs may number a directory anew when it copies it up.
	if err := unix.Fstat(dir, &parent); err != nil {
		return err
	}
	at, err := t.root.PathOf(dir)
	if err != nil {
		return err
	}
	err = report(Report{Stub: &Stub{
		Parent: at, ParentDev: uint64(parent.Dev), ParentIno: parent.Ino,
		Name: name, Dev: uint64(st.Dev), Ino: st.Ino, Dir: st.Mode&unix.S_IFMT == unix.S_IFDIR,
	}})
	if err != nil {
		return err
	}
	times := []unix.Timespec{before.Atim, before.Mtim}
	return unix.UtimesNanoAt(dir, ".", times, 0)
}

// mountOf returns the mount a handle is on, 0 when the kernel does not tell.
func mountOf(fd int) uint64 {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0
	}
	return st.Mnt_id
}

func isDir(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}
