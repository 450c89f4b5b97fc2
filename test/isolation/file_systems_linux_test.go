package isolation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fileSystem puts another file system over the folder of a way, which it then
// belongs to as before.
type fileSystem func(*way) error

// onOverlay is what a container has: no overlay can be laid over it.
func onOverlay(w *way) error {
	below := w.dir + ".below"
	var options []string
	for _, name := range []string{"lower", "upper", "work"} {
		dir := filepath.Join(below, name)
		if err := errors.Join(os.MkdirAll(dir, 0o755), likeDir(dir, w.dir)); err != nil {
			return err
		}
		options = append(options, name+"dir="+dir)
	}
	if err := unix.Mount("overlay", w.dir, "overlay", 0, strings.Join(options, ",")); err != nil {
		return err
	}
	w.off = append(w.off, func() error { return os.RemoveAll(below) }, w.unmount)
	return nil
}

// onFUSE is a file system of a process, as those of many clouds are.
func onFUSE(w *way) error {
	below := w.dir + ".below"
	if err := errors.Join(os.Mkdir(below, 0o755), likeDir(below, w.dir)); err != nil {
		return err
	}
	if err := tool("bindfs", "-o", "allow_other", below, w.dir); err != nil {
		return errors.Join(err, os.RemoveAll(below))
	}
	w.off = append(w.off, func() error { return os.RemoveAll(below) }, w.unmount)
	return nil
}

func (w *way) unmount() error { return unix.Unmount(w.dir, unix.MNT_DETACH) }

// likeDir gives a folder to the owner of another one, and its mode.
func likeDir(dir, other string) error {
	var st unix.Stat_t
	if err := unix.Stat(other, &st); err != nil {
		return err
	}
	return errors.Join(os.Chown(dir, int(st.Uid), int(st.Gid)), unix.Chmod(dir, st.Mode&0o7777))
}
