package inroot

import (
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links the kernel follows in one path.
const maxLinks = 40

// walk goes along a path one part at a time. It holds every directory from the
// root to where it is, so that ".." is never asked of the kernel: whatever is
// moved meanwhile, the way back is the way it has come.
type walk struct {
	root  int   // not the walk's to close
	dirs  []int // below the root, the last one is where it is
	rest  []string
	rule  Rule
	links int
}

// stepwise is Open without openat2; because is the reason for it, which is the
// answer where the rule needs the kernel.
func stepwise(at int, name string, flags int, rule Rule, because error) (int, error) {
	if rule&SameMount != 0 {
		return -1, because
	}
	if name == "" {
		return -1, unix.ENOENT
	}
	if len(name) >= unix.PathMax {
		return -1, unix.ENAMETOOLONG
	}
	w := &walk{root: at, rule: rule, rest: strings.Split(name, "/")}
	switch {
	case rule == Own:
		root, err := w.startAtOwnRoot(at, name)
		if err != nil {
			return -1, err
		}
		defer unix.Close(root)
	case rule == Plain && name[0] == '/':
		return -1, unix.EXDEV
	}
	defer w.leave(0)
	return w.run(flags)
}

// startAtOwnRoot makes the walk one from the root of this process.
func (w *walk) startAtOwnRoot(at int, name string) (int, error) {
	if name[0] != '/' {
		dir, err := pathOf(at)
		if err != nil {
			return -1, err
		}
		w.rest = append(strings.Split(dir, "/"), w.rest...)
	}
	w.rule = Within
	root, err := retry(func() (int, error) { return unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	w.root = root
	return root, err
}

// pathOf is the path of a directory as this process would spell it.
func pathOf(at int) (string, error) {
	if at != unix.AT_FDCWD {
		return readlink(unix.AT_FDCWD, fdPath(at))
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return "", err
	}
	dir := strings.TrimRight(string(buf[:n]), "\x00")
	if !strings.HasPrefix(dir, "/") { // outside of the root
		return "", unix.EXDEV
	}
	return dir, nil
}

func (w *walk) here() int {
	if len(w.dirs) == 0 {
		return w.root
	}
	return w.dirs[len(w.dirs)-1]
}

// leave goes back until there are n directories below the root.
func (w *walk) leave(n int) {
	for _, fd := range w.dirs[n:] {
		unix.Close(fd)
	}
	w.dirs = w.dirs[:n]
}

func (w *walk) run(flags int) (int, error) {
	for len(w.rest) > 0 {
		part := w.rest[0]
		w.rest = w.rest[1:]
		switch part {
		case "", ".":
		case "..":
			if len(w.dirs) == 0 && w.rule == Plain {
				return -1, unix.EXDEV
			}
			w.leave(max(len(w.dirs)-1, 0))
		default:
			fd, err := w.down(part, flags)
			if fd >= 0 || err != nil {
				return fd, err
			}
		}
	}
	return w.open(".", flags)
}

func (w *walk) open(part string, flags int) (int, error) {
	return retry(func() (int, error) { return unix.Openat(w.here(), part, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
}

// down takes one part of the path. It returns a descriptor if that was the last one, else -1.
func (w *walk) down(part string, flags int) (int, error) {
	last := strings.Join(w.rest, "") == ""
	if last && len(w.rest) == 0 && flags&unix.O_NOFOLLOW != 0 {
		return w.open(part, flags)
	}
	fd, err := w.open(part, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFLNK {
		defer unix.Close(fd)
		return -1, w.follow(fd)
	}
	if kind != unix.S_IFDIR && (len(w.rest) > 0 || flags&unix.O_DIRECTORY != 0) {
		unix.Close(fd)
		return -1, unix.ENOTDIR
	}
	if !last {
		w.dirs = append(w.dirs, fd)
		return -1, nil
	}
	if flags&unix.O_PATH != 0 {
		return fd, nil
	}
	unix.Close(fd)
	return w.open(part, flags)
}

// follow puts what a link says in front of the rest of the path.
func (w *walk) follow(fd int) error {
	if w.links++; w.rule == Plain || w.links > maxLinks {
		return unix.ELOOP
	}
	text, err := readlink(fd, "")
	if err != nil {
		return err
	}
	if text == "" {
		return unix.ENOENT
	}
	if text[0] == '/' {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(fd, &fs); err != nil {
			return err
		}
		if fs.Type == unix.PROC_SUPER_MAGIC { // only magic ones are absolute there
			return unix.ELOOP
		}
		w.leave(0)
	}
	w.rest = append(strings.Split(text, "/"), w.rest...)
	return nil
}
