package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyTree copies what is in the directory from into the empty directory to.
// Both are private to the worker, and the walk follows no link.
func copyTree(ctx context.Context, from, to string) error {
	type times struct {
		path string
		t    unix.Timespec
	}
	var dirs []times
	err := filepath.WalkDir(from, func(path string, _ fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || path == from {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		target := filepath.Join(to, rel)
		if err := copyFile(path, target, &st); err != nil {
			return fmt.Errorf("copy %s: %w", rel, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			dirs = append(dirs, times{target, st.Mtim})
		}
		return nil
	})
	for _, d := range dirs {
		err = errors.Join(err, setTime(d.path, d.t))
	}
	return err
}

func copyFile(from, to string, st *unix.Stat_t) error {
	var err error
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFDIR:
		err = os.Mkdir(to, 0o700)
	case unix.S_IFREG:
		err = copyContent(from, to)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	case unix.S_IFIFO:
		err = unix.Mkfifo(to, 0o600)
	default:
		return nil // sockets and devices have no place in a cache
	}
	if err != nil {
		return err
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyOwner(from, to); err != nil {
		return err
	}
	if kind != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return err
		}
	}
	return setTime(to, st.Mtim)
}

func copyContent(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func setTime(path string, t unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}
