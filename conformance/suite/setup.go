package suite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// setup runs one line of a case's setup: what txtar has no words for.
//
//	mkdir MODE PATH        chmod MODE PATH       symlink TEXT PATH
//	link OLD NEW           fifo MODE PATH        socket PATH
//	xattr PATH NAME VALUE  remove PATH           base64 TO FROM
//	archive TO LISTING     fill PATH BYTES       git REPOSITORY ARGUMENTS…
//	layout TO LISTING      chown UID:GID PATH
func setup(dir, line string) error {
	f, err := fields(line)
	if err != nil {
		return err
	}
	do, ok := setups[f[0]]
	if !ok || len(f)-1 != do.args && (do.args != oneOrMore || len(f) < 2) {
		return fmt.Errorf("not a command with %d arguments", len(f)-1)
	}
	return do.run(dir, f[1:])
}

// oneOrMore is how many arguments some have.
const oneOrMore = -1

var setups = map[string]struct {
	args int
	run  func(dir string, a []string) error
}{
	"mkdir":   {2, func(dir string, a []string) error { return withMode(a[0], dir, a[1], mkdir) }},
	"chmod":   {2, func(dir string, a []string) error { return withMode(a[0], dir, a[1], nil) }},
	"symlink": {2, func(dir string, a []string) error { return os.Symlink(a[0], filepath.Join(dir, a[1])) }},
	"link": {2, func(dir string, a []string) error {
		return os.Link(filepath.Join(dir, a[0]), filepath.Join(dir, a[1]))
	}},
	"chown": {2, func(dir string, a []string) error {
		uid, gid, err := pair(a[0])
		if err != nil {
			return err
		}
		return os.Lchown(filepath.Join(dir, a[1]), uid, gid)
	}},
	"fifo": {2, func(dir string, a []string) error {
		return withMode(a[0], dir, a[1], func(p string) error { return unix.Mkfifo(p, 0o644) })
	}},
	"socket": {1, func(dir string, a []string) error {
		return unix.Mknod(filepath.Join(dir, a[0]), unix.S_IFSOCK|0o755, 0)
	}},
	"xattr": {3, func(dir string, a []string) error {
		return unix.Lsetxattr(filepath.Join(dir, a[0]), a[1], []byte(a[2]), 0)
	}},
	"remove":  {1, func(dir string, a []string) error { return os.RemoveAll(filepath.Join(dir, a[0])) }},
	"base64":  {2, func(dir string, a []string) error { return decode(dir, a[1], a[0]) }},
	"archive": {2, func(dir string, a []string) error { return archive(dir, a[0], a[1]) }},
	"layout":  {2, func(dir string, a []string) error { return writeLayout(dir, a[0], a[1]) }},
	"git":     {oneOrMore, git},
	"fill":    {2, func(dir string, a []string) error { return fill(filepath.Join(dir, a[0]), a[1]) }},
}

func mkdir(p string) error {
	if err := makeDirs(filepath.Dir(p)); err != nil {
		return err
	}
	return os.Mkdir(p, 0o755)
}

// withMode makes a file and gives it its mode, all twelve bits of it.
func withMode(mode, dir, name string, make func(string) error) error {
	m, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return err
	}
	p := filepath.Join(dir, name)
	if make != nil {
		if err := make(p); err != nil {
			return err
		}
	}
	return unix.Chmod(p, uint32(m))
}

func fill(name, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	return os.WriteFile(name, bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n], 0o644)
}

func setTime(name string, t time.Time) error {
	ts := []unix.Timespec{unix.NsecToTimespec(t.UnixNano()), unix.NsecToTimespec(t.UnixNano())}
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// fields splits a line at spaces; a field may be a quoted Go string.
func fields(line string) ([]string, error) {
	var out []string
	for {
		line = strings.TrimLeft(line, " ")
		if line == "" {
			return out, nil
		}
		if line[0] != '"' {
			var f string
			f, line, _ = strings.Cut(line, " ")
			out = append(out, f)
			continue
		}
		q, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		f, err := strconv.Unquote(q)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		out, line = append(out, f), line[len(q):]
	}
}
