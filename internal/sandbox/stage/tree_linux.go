package stage

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is the root of the step while it is being furnished.
type tree struct {
	fd     int    // O_PATH handle of the root directory, on the step's own mount of it
	prefix string // how /proc/self/fd spells that directory
	mount  uint64 // its mount, to tell the image's directories from mounted ones
	uid    uint32
	gid    uint32
	noted  bool // owners stand in attributes
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
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(t.fd, name, how)
		// EAGAIN: something was renamed meanwhile (a shared cache mount).
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// ensure opens name and makes it, and the directories above it, when missing.
func (t *tree) ensure(name string, p place) (int, error) {
	return t.walk(name, p, 0)
}

func (t *tree) walk(name string, p place, depth int) (int, error) {
	if depth > 255 {
		return -1, unix.ELOOP
	}
	fd, err := t.open(name)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	dir, base := split(name)
	above := p
	if p == stubFile {
		above = stubDir
	}
	parent, err := t.walk(dir, above, depth+1)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if base == "." || base == ".." {
		return t.open(name) // what it leads through exists now
	}
	link, err := readlink(parent, base)
	if err != nil {
		fd, err := t.create(parent, base, p)
		if errors.Is(err, unix.EEXIST) { // made on the way, by a path like a/../a
			return t.open(name)
		}
		return fd, err
	}
	// A link to something missing: make what it means, inside the root.
	if !strings.HasPrefix(link, "/") {
		at, err := t.pathOf(parent)
		if err != nil {
			return -1, err
		}
		link = at + "/" + link
	}
	return t.walk(link, p, depth+1)
}

// split does not clean: ".." after a symbolic link must stay where it is.
func split(name string) (dir, base string) {
	name = strings.TrimRight(name, "/")
	i := strings.LastIndexByte(name, '/')
	if i <= 0 {
		return "/", name[i+1:]
	}
	return name[:i], name[i+1:]
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// pathOf returns the path of a handle inside the root, free of links.
func (t *tree) pathOf(fd int) (string, error) {
	full, err := readlink(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	inside, ok := strings.CutPrefix(full, t.prefix)
	if !ok || inside != "" && inside[0] != '/' {
		return "", fmt.Errorf("%s is outside of the root %s", full, t.prefix)
	}
	return path.Join("/", inside), nil
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
	at, err := t.pathOf(dir)
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
