package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// Shown is a file of this machine that a step finds in its tree. The step can
// replace or remove it, as it could not a mount. Only what the step puts there is
// in the difference.
type Shown struct {
	Source string // path of a regular file
	Target string // path in the tree, in which links lead nowhere else
}

// shown is what a snapshot knows of its shown files. They are a tree of their own
// between the layers and the changes, so that nothing has to be taken away that a
// step has not copied up.
type shown struct {
	dir   string   // the tree
	files []string // paths in it, as are dirs
	dirs  []string // directories that no layer has, outer ones first
}

// Show adds files to the tree before its first use, and returns those whose place
// is another mount's: inside one of others, or not that of a regular file.
func (s *Snapshot) Show(files []Shown, others []string) (rest []Shown, err error) {
	dir, err := s.m.temp.Dir("shown")
	if err != nil {
		return nil, err
	}
	s.shown = &shown{dir: dir}
	root, err := inroot.OpenRoot(s.Root(), "the image")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	covers := covering(root, others)
	for _, f := range files {
		ok, err := s.shown.add(root, f, covers)
		if err != nil {
			return nil, fmt.Errorf("show %s at %s: %w", f.Source, f.Target, err)
		}
		if !ok {
			rest = append(rest, f)
		}
	}
	return rest, s.remount()
}

// remount mounts the snapshot, in which nothing was changed, with its shown files.
func (s *Snapshot) remount() error {
	if err := s.unmount(); err != nil {
		return err
	}
	for _, at := range []string{s.Upper(), s.Root(), s.below()} {
		if err := os.RemoveAll(at); err != nil {
			return err
		}
	}
	if err := s.mount(s.given, s.ground); err != nil {
		return fmt.Errorf("mount with files of this machine: %w", err)
	}
	return nil
}

// add copies one file to its place, unless that is a mount's.
func (s *shown) add(root *inroot.Root, f Shown, c covers) (bool, error) {
	place, err := root.Place(f.Target, s.stub(root))
	if err != nil {
		return false, nil // mounting it gives the reason
	}
	fd := max(place.FD, place.Dir)
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	if place.FD >= 0 && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, nil
	}
	at, err := root.PathOf(fd)
	if err != nil {
		return false, err
	}
	at = path.Join(at, place.Base)
	if c.has(at) {
		return false, nil
	}
	if err := s.parents(root, path.Dir(at)); err != nil {
		return false, err
	}
	s.files = append(s.files, at)
	to := filepath.Join(s.dir, at)
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if err := CopyShown(f.Source, to); err != nil {
		return false, err
	}
	return true, s.times(root, path.Dir(at))
}

// stub makes directories that are missing in the mounted tree, for the place of a
// file to be found. Remounting removes them there.
func (s *shown) stub(root *inroot.Root) inroot.Mkdir {
	return func(dir int, base string) (int, error) {
		var st unix.Stat_t
		if err := unix.Fstat(dir, &st); err != nil {
			return -1, err
		}
		err := unix.Mkdirat(dir, base, 0o755)
		if err == nil {
			err = unix.UtimesNanoAt(dir, ".", []unix.Timespec{st.Atim, st.Mtim}, 0)
		}
		if err != nil {
			return -1, err
		}
		fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		at, err := root.PathOf(fd)
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
		s.dirs = append(s.dirs, at)
		return fd, nil
	}
}

// parents makes the directories above a file as they are in the mounted tree: of
// those that several trees have, an overlay shows the topmost.
func (s *shown) parents(root *inroot.Root, dir string) error {
	if dir == "/" {
		return nil
	}
	to := filepath.Join(s.dir, dir)
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	if err := s.parents(root, path.Dir(dir)); err != nil {
		return err
	}
	fd, err := root.Open(path.Join(".", dir[1:]), unix.O_RDONLY|unix.O_DIRECTORY, inroot.Plain)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyAttributes(fd, to); err != nil {
		return err
	}
	return unix.Chmod(to, st.Mode&0o7777)
}

// times gives a directory, and those above it, the times they have in the tree.
func (s *shown) times(root *inroot.Root, dir string) error {
	for ; dir != "/"; dir = path.Dir(dir) {
		fd, err := root.Open(path.Join(".", dir[1:]), unix.O_PATH|unix.O_DIRECTORY, inroot.Plain)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err == nil {
			err = unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(s.dir, dir), []unix.Timespec{st.Atim, st.Mtim}, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyAttributes(fd int, to string) error {
	list := make([]byte, 64<<10)
	n, err := unix.Flistxattr(fd, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		if name == "" {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, value)
		if err == nil {
			err = unix.Setxattr(to, name, value[:n], 0)
		}
		if err != nil && !strings.HasPrefix(name, "security.") { // a label is the machine's to give
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

// CopyShown copies a file that is shown, with its mode, its time and, where it can
// have it here, its owner.
func CopyShown(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	// In a user namespace its owner may have no number.
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := unix.Chmod(to, st.Mode&0o777); err != nil {
		return err
	}
	return unix.UtimesNano(to, []unix.Timespec{st.Mtim, st.Mtim})
}

// StillShown tells whether a file, which a step has not replaced, still holds all
// of the original, at its beginning: what was shown is not to get into a layer
// because a step has changed the owner, or added a line.
func StillShown(file, original string) (bool, error) {
	want, err := os.ReadFile(original)
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	got := make([]byte, len(want))
	n, err := io.ReadFull(f, got)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return bytes.Equal(got[:n], want), nil
}

// forget takes out of the changes what the overlay has copied up of the shown
// files, and then these. The snapshot is not mounted.
func (s *Snapshot) forget() error {
	if s.shown == nil {
		return nil
	}
	upper, err := inroot.OpenRoot(s.Upper(), "the changes")
	if err != nil {
		return err
	}
	defer upper.Close()
	for _, at := range s.shown.files {
		if err := s.dropCopy(upper, at); err != nil {
			return fmt.Errorf("take %s away: %w", at, err)
		}
	}
	for _, at := range slices.Backward(s.shown.dirs) {
		if err := s.drop(upper, at, unix.AT_REMOVEDIR, func(string) (bool, error) { return true, nil }); err != nil {
			return fmt.Errorf("take %s away: %w", at, err)
		}
	}
	return s.hide()
}

// hide removes the shown files themselves.
func (s *Snapshot) hide() error {
	if s.shown == nil {
		return nil
	}
	err := os.RemoveAll(s.shown.dir)
	s.shown = nil
	return err
}

func (s *Snapshot) dropCopy(upper *inroot.Root, at string) error {
	return s.drop(upper, at, 0, func(file string) (bool, error) {
		return StillShown(file, filepath.Join(s.shown.dir, at))
	})
}

// drop removes a file from the changes if it was copied up and same says so.
func (s *Snapshot) drop(upper *inroot.Root, at string, flags int, same func(string) (bool, error)) error {
	dir, err := upper.Open(path.Dir(at[1:]), unix.O_PATH|unix.O_DIRECTORY, inroot.Plain)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var above, st unix.Stat_t
	if err := unix.Fstat(dir, &above); err != nil {
		return err
	}
	kind := uint32(unix.S_IFREG)
	if flags != 0 {
		kind = unix.S_IFDIR
	}
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir, path.Base(at))
	err = unix.Fstatat(dir, path.Base(at), &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode&unix.S_IFMT != kind || !s.copiedUp(file) {
		return nil
	}
	if ok, err := same(file); err != nil || !ok {
		return err
	}
	err = unix.Unlinkat(dir, path.Base(at), flags)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil // the step has put something in it
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, ".", []unix.Timespec{above.Atim, above.Mtim}, 0)
}

// copiedUp tells whether the overlay has copied a file from below.
func (s *Snapshot) copiedUp(file string) bool {
	name := "user.overlay.origin"
	if s.m.flavour == Trusted {
		name = "trusted.overlay.origin"
	}
	_, err := unix.Lgetxattr(file, name, nil)
	return err == nil
}
