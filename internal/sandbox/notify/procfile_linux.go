package notify

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

func (s *supervisor) procOpen(dir int, name uint64, flags int, mode uint32) reply {
	return s.answer(dir, name, flags&unix.O_NOFOLLOW == 0, func(p procPath) reply {
		if p.kind != theirs && flags&(unix.O_ACCMODE|unix.O_CREAT|unix.O_TRUNC) != 0 {
			return natural // the settings of the machine are not a step's
		}
		fd, err := s.openPlace(p.place, flags|unix.O_CLOEXEC|unix.O_NOCTTY, mode)
		if err != nil {
			return failed(err)
		}
		defer unix.Close(fd)
		if !s.alive() {
			return natural
		}
		if p.place == "/proc" && flags&unix.O_PATH == 0 {
			return s.sendHigh(fd, flags&unix.O_CLOEXEC != 0)
		}
		return s.sendFile(fd, flags&unix.O_CLOEXEC != 0)
	})
}

// openPlace opens a file of /proc, or what stands in for it in a changed root.
func (s *supervisor) openPlace(place string, flags int, mode uint32) (int, error) {
	switch path.Base(place) {
	case "mounts", "mountinfo", "mountstats":
		if text := s.mounts(path.Base(place)); text != "" && flags&unix.O_PATH == 0 {
			return fileOf(text)
		}
	}
	return unix.Open(place, flags, mode)
}

func (s *supervisor) procReadlink(dir int, name, to, size uint64) reply {
	return s.answer(dir, name, false, func(p procPath) reply {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlink(p.place, buf)
		if err != nil {
			return failed(err)
		}
		text := s.inStep(string(buf[:n]))
		switch p.place {
		case "/proc/self":
			text = status("/proc/"+s.caller(), "Tgid")
		case "/proc/thread-self":
			text = status("/proc/"+s.caller(), "Tgid") + "/task/" + s.caller()
		}
		data := []byte(text)[:min(uint64(len(text)), size)]
		if r := s.procWrite(to, data); r.errno != 0 || r.goOn {
			return r
		}
		return reply{value: int64(len(data))}
	})
}

// inStep is a path of ours as the step says it, whose root is another.
func (s *supervisor) inStep(text string) string {
	root := strings.TrimSuffix(procRoot(s.caller()), "/")
	if text == root {
		return "/"
	}
	if within(text, root) {
		return strings.TrimPrefix(text, root)
	}
	return text
}

func (s *supervisor) procStat(dir int, name, to uint64, flags int) reply {
	return s.answer(dir, name, flags&unix.AT_SYMLINK_NOFOLLOW == 0, func(p procPath) reply {
		var st unix.Stat_t
		if err := unix.Fstatat(unix.AT_FDCWD, p.place, &st, flags); err != nil {
			return failed(err)
		}
		return s.procWrite(to, bytesOf(&st))
	})
}

func (s *supervisor) procStatx() reply {
	flags := s.flags(2)
	return s.answer(s.fd(0), s.req.args[1], flags&unix.AT_SYMLINK_NOFOLLOW == 0, func(p procPath) reply {
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, p.place, flags, int(uint32(s.req.args[3])), &st); err != nil {
			return failed(err)
		}
		return s.procWrite(s.req.args[4], bytesOf(&st))
	})
}

func (s *supervisor) procStatfs() reply {
	return s.answer(unix.AT_FDCWD, s.req.args[0], true, func(p procPath) reply {
		var st unix.Statfs_t
		if err := unix.Statfs(p.place, &st); err != nil {
			return failed(err)
		}
		return s.procWrite(s.req.args[1], bytesOf(&st))
	})
}

func (s *supervisor) procAccess(dir int, name uint64, mode uint32, flags int) reply {
	return s.answer(dir, name, flags&unix.AT_SYMLINK_NOFOLLOW == 0, func(p procPath) reply {
		return result(unix.Faccessat(unix.AT_FDCWD, p.place, mode, flags))
	})
}

// procChmod and the calls below change files that a process has open, by the links
// to them: the C library does so for names that it must not follow.
func (s *supervisor) procChmod(dir int, name uint64, mode uint32) reply {
	return s.change(dir, name, true, func(place string) error { return unix.Chmod(place, mode) })
}

func (s *supervisor) procChown(dir int, name uint64, uid, gid uint32, flags int) reply {
	return s.change(dir, name, flags&unix.AT_SYMLINK_NOFOLLOW == 0, func(place string) error {
		return unix.Fchownat(unix.AT_FDCWD, place, int(int32(uid)), int(int32(gid)), flags)
	})
}

func (s *supervisor) procTruncate() reply {
	return s.change(unix.AT_FDCWD, s.req.args[0], true, func(place string) error {
		return unix.Truncate(place, int64(s.req.args[1]))
	})
}

// change lets nothing of the machine be changed.
func (s *supervisor) change(dir int, name uint64, follow bool, do func(place string) error) reply {
	return s.answer(dir, name, follow, func(p procPath) reply {
		if p.kind != theirs || !s.alive() {
			return natural
		}
		return result(do(p.place))
	})
}

// procLink gives a name to a file that has none yet.
func (s *supervisor) procLink() reply {
	follow := s.flags(4)&unix.AT_SYMLINK_FOLLOW != 0
	return s.change(s.fd(0), s.req.args[1], follow, func(place string) error {
		text, _, err := s.procText(s.req.args[3]) // as the user that we are already
		if err != nil {
			return err
		}
		if !strings.HasPrefix(text, "/") {
			from := "/proc/" + s.caller() + "/"
			if dir := s.fd(2); dir == unix.AT_FDCWD {
				text = s.inStep(readlink(from+"cwd")) + "/" + text
			} else {
				text = s.inStep(readlink(from+descriptor(dir))) + "/" + text
			}
		}
		parent, err := s.openInStep(path.Dir(text))
		if err != nil {
			return err
		}
		defer unix.Close(parent)
		return unix.Linkat(unix.AT_FDCWD, place, parent, path.Base(text), unix.AT_SYMLINK_FOLLOW)
	})
}

// procAttributes tells that files of /proc have no attributes.
func (s *supervisor) procAttributes(follow bool) reply {
	return s.answer(unix.AT_FDCWD, s.req.args[0], follow, func(procPath) reply { return reply{errno: unix.ENOTSUP} })
}

// openInStep opens a directory of the step by its path there.
func (s *supervisor) openInStep(dir string) (int, error) {
	root, err := unix.Open("/proc/"+s.caller()+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	return unix.Openat2(root, dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// result is the answer to a call that has no other result.
func result(err error) reply {
	if err != nil {
		return failed(err)
	}
	return reply{}
}
