package notify

import (
	"errors"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// execution is a program that a process was let execute by a link.
type execution struct {
	text, target  string
	group         string
	began, memory string // what the process was before
}

// patience is how many milliseconds a process may take from asking to execute a
// program to having done so.
const patience = 100

// procExec lets the kernel find a program that is named by a link of /proc: it is
// the one call that nobody can make for another, and so a link with the same
// target is made in the step's own, empty /proc.
func (s *supervisor) procExec() reply {
	return s.answer(unix.AT_FDCWD, s.req.args[0], true, func(p procPath) reply {
		target := s.inStep(readlink(p.place))
		if p.kind != theirs || !path.IsAbs(target) || target == p.text {
			return natural
		}
		if s.at.executed.text != p.text || s.at.executed.target != target {
			s.settleExecution(target)
			if err := s.linkInStep(p, target); err != nil {
				return natural // which fails
			}
		}
		group := status("/proc/"+s.caller(), "Tgid")
		began, memory := life("/proc/" + group)
		s.at.executed = execution{text: p.text, target: target, group: group, began: began, memory: memory}
		return natural
	})
}

// settleExecution waits until the link that was made last is used, for another
// cannot be made before.
func (s *supervisor) settleExecution(target string) {
	e := s.at.executed
	if e.target == target {
		return
	}
	for range patience {
		if began, memory := life("/proc/" + e.group); e.group == "" || began != e.began || memory != e.memory {
			return
		}
		_, _ = unix.Poll(nil, 1)
	}
}

// procChdir makes a directory of /proc or /sys where a process goes, so that its
// relative names can be told from others. What is in it, it hears from us.
func (s *supervisor) procChdir() reply {
	return s.answer(unix.AT_FDCWD, s.req.args[0], true, func(p procPath) reply {
		var st unix.Stat_t
		if err := unix.Stat(p.place, &st); err != nil {
			return failed(err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return reply{errno: unix.ENOTDIR}
		}
		if to := s.inStep(readlink(p.place)); p.kind == theirs && path.IsAbs(to) { // cwd, root or an open directory
			_ = s.linkInStep(p, to) // without it the call fails
			return natural
		}
		if dir, err := s.dirInStep(p, p.text); err == nil {
			unix.Close(dir)
			s.at.wandered = status("/proc/"+s.caller(), "Tgid")
		}
		return natural
	})
}

// linkInStep makes a symbolic link in the step's /proc.
func (s *supervisor) linkInStep(p procPath, target string) error {
	dir, err := s.dirInStep(p, path.Dir(p.text))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	const next = ".next"
	_ = unix.Unlinkat(dir, next, 0) // there is none
	if err := unix.Symlinkat(target, dir, next); err != nil {
		return err
	}
	return unix.Renameat(dir, next, dir, path.Base(p.text))
}

// dirInStep makes and opens a directory in the step's /proc or /sys, which are
// empty and in no layer. They are root's, as this thread is from then on.
func (s *supervisor) dirInStep(p procPath, text string) (int, error) {
	dir, err := unix.Open("/proc/"+s.caller()+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	p.done()
	if err != nil {
		return -1, err
	}
	for name := range strings.SplitSeq(text[1:], "/") {
		if err := unix.Mkdirat(dir, name, 0o555); err != nil && !errors.Is(err, unix.EEXIST) {
			unix.Close(dir)
			return -1, err
		}
		next, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(dir)
		if err != nil {
			return -1, err
		}
		dir = next
	}
	return dir, nil
}

// descriptor names an open file of a process below its directory in /proc.
func descriptor(fd int) string { return "fd/" + strconv.Itoa(fd) }
