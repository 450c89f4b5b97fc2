package notify

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ProcFilter is a filter for a step that has a changed root and no /proc in it. It
// hands over the calls that open, read and look at what a path names, for
// [ServeProc] to answer those on /proc. Calls that name a file by an open directory
// are left alone: most programs that walk trees make those, and a directory of
// /proc that was opened is the real one.
func ProcFilter() []byte { return filterOf(procABIs) }

// here is the working directory as the first argument.
var here = []condition{{0, unix.BPF_JEQ, cwdFD}}

// cwdFD is AT_FDCWD as the low half of an argument.
const cwdFD = 1<<32 + unix.AT_FDCWD

// procCalls are the calls that all processors have.
var procCalls = []call{
	{number: unix.SYS_OPENAT, only: here, handle: func(s *supervisor) reply {
		return s.procOpen(s.req.args[1], int(uint32(s.req.args[2])), uint32(s.req.args[3]))
	}},
	{number: unix.SYS_READLINKAT, only: here, handle: func(s *supervisor) reply {
		return s.procReadlink(s.req.args[1], s.req.args[2], s.req.args[3])
	}},
	{number: sysFstatat, only: here, handle: func(s *supervisor) reply {
		return s.procStat(s.req.args[1], s.req.args[2], s.flags(3))
	}},
	{number: unix.SYS_STATX, only: here, handle: (*supervisor).procStatx},
	{number: unix.SYS_FACCESSAT, only: here, handle: func(s *supervisor) reply { return s.procAccess(s.req.args[1], s.mode(2), 0) }},
	{number: unix.SYS_FACCESSAT2, only: here, handle: func(s *supervisor) reply {
		return s.procAccess(s.req.args[1], s.mode(2), s.flags(3))
	}},
	{number: unix.SYS_GETXATTR, handle: func(s *supervisor) reply { return s.procAttributes(true) }},
	{number: unix.SYS_LISTXATTR, handle: func(s *supervisor) reply { return s.procAttributes(true) }},
	{number: unix.SYS_LGETXATTR, handle: func(s *supervisor) reply { return s.procAttributes(false) }},
	{number: unix.SYS_LLISTXATTR, handle: func(s *supervisor) reply { return s.procAttributes(false) }},
}

// ServeProc answers the calls on /proc that the filter behind listener hands over,
// from the /proc of this process, until the step is over. The calling goroutine
// must stay on its thread.
func ServeProc(listener int) error {
	s := &supervisor{listener: listener, handlers: map[number]func(*supervisor) reply{}}
	for _, a := range procABIs {
		for _, c := range a.calls {
			s.handlers[number{int32(c.number), a.audit}] = c.handle
		}
	}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	for {
		s.req = notification{}
		err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&s.req))
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOENT): // the process died meanwhile, or all have
			if s.over() {
				return nil
			}
		case err != nil:
			return fmt.Errorf("wait for a call: %w", err)
		default:
			s.send(s.handlers[s.req.what](s))
		}
	}
}

// ReceiveProc waits for the listener on a socket, which it closes; -1 for none.
func ReceiveProc(socket int) (int, error) { return receive(socket) }

// HiddenFiles and HiddenDirs are the parts of /proc that tell of the machine and
// are no step's business, relative to the root.
var (
	HiddenFiles = []string{
		"proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats",
		"proc/sched_debug", "proc/timer_list", "proc/timer_stats",
	}
	HiddenDirs = []string{"proc/acpi", "proc/asound", "proc/scsi"}
)

// hidden tells whether an absolute path is one of them, or in one.
func hidden(text string) bool {
	return slices.ContainsFunc(slices.Concat(HiddenFiles, HiddenDirs), func(p string) bool {
		return text[1:] == p || strings.HasPrefix(text[1:], p+"/")
	})
}

// procLinks are the links of /dev that lead to /proc.
var procLinks = map[string]string{
	"/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2", "/dev/fd": "/proc/self/fd",
}

// procPlace is the path in our /proc of what a call names; false where it names
// something else, or what the step is not to see. The process acts as whoever it is
// until done is called.
func (s *supervisor) procPlace(name uint64, follow bool) (place string, done func(), ok bool) {
	text, done, err := s.procText(name)
	if err != nil || !strings.HasPrefix(text, "/") {
		return "", done, false
	}
	follow = follow || strings.HasSuffix(text, "/")
	text = path.Clean(text)
	if to, ok := procLinks[text]; ok && follow {
		text = to
	}
	if rest, ok := strings.CutPrefix(text, "/dev/fd/"); ok {
		text = "/proc/self/fd/" + rest
	}
	if text != "/proc" && !strings.HasPrefix(text, "/proc/") {
		return "", done, false
	}
	parts := strings.Split(strings.TrimPrefix(text[len("/proc"):], "/"), "/")
	place, ok = s.ofProcess(parts, text, follow)
	return place, done, ok
}

// ofProcess resolves the first part of a path in /proc for the calling process, and
// refuses processes that are not of the step, which have another root.
func (s *supervisor) ofProcess(parts []string, text string, follow bool) (string, bool) {
	caller := strconv.FormatUint(uint64(s.req.pid), 10)
	group := ""
	follow = follow || len(parts) > 1
	switch first := parts[0]; {
	case first == "self" && follow:
		group = status("/proc/"+caller, "Tgid")
		parts[0] = group
	case first == "thread-self" && follow:
		group = status("/proc/"+caller, "Tgid")
		parts[0] = group + "/task/" + caller
	case first == "" || first[0] < '0' || first[0] > '9':
		return text, !hidden(text)
	default:
		if procRoot(first) != procRoot(caller) || procRoot(caller) == "" {
			return "", false
		}
		group = first
	}
	return "/proc/" + strings.Join(parts, "/"), group != "" && !behindLink(parts)
}

// behindLink tells whether a path goes through a link to a file of the step, behind
// which links would lead us elsewhere.
func behindLink(parts []string) bool {
	switch {
	case len(parts) > 3:
		return slices.Contains([]string{"root", "cwd", "exe", "fd"}, parts[1])
	case len(parts) > 2:
		return slices.Contains([]string{"root", "cwd", "exe"}, parts[1])
	}
	return false
}

// procRoot is the root directory of a process, "" if it may not be known.
func procRoot(pid string) string {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink("/proc/"+pid+"/root", buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// procText reads a path. Of a process of another user it can be read by whoever is
// that user, which this thread is until done is called.
func (s *supervisor) procText(name uint64) (text string, done func(), err error) {
	text, err = s.readString(name)
	if err == nil {
		return text, func() {}, nil
	}
	dir := "/proc/" + strconv.FormatUint(uint64(s.req.pid), 10)
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil || st.Uid == 0 {
		return "", func() {}, err
	}
	setFS(st.Uid, st.Gid)
	done = func() { setFS(0, 0) }
	mem, err := unix.Open(dir+"/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", done, err
	}
	defer unix.Close(mem)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Pread(mem, buf, int64(name))
	if err != nil {
		return "", done, err
	}
	text, _, ok := strings.Cut(string(buf[:n]), "\x00")
	if !ok {
		err = unix.ENAMETOOLONG
	}
	return text, done, err
}

// setFS changes whom the kernel takes this thread for when it looks at files.
func setFS(uid, gid uint32) {
	if uid == 0 { // first, or the other is not allowed
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
}

// procWrite changes the memory of the process.
func (s *supervisor) procWrite(at uint64, data []byte) reply {
	if err := s.write(at, data); err == nil {
		return reply{}
	}
	mem, err := unix.Open("/proc/"+strconv.FormatUint(uint64(s.req.pid), 10)+"/mem", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return reply{errno: unix.EFAULT}
	}
	defer unix.Close(mem)
	if !s.alive() {
		return natural
	}
	if n, err := unix.Pwrite(mem, data, int64(at)); err != nil || n != len(data) {
		return reply{errno: unix.EFAULT}
	}
	return reply{}
}

func (s *supervisor) procOpen(name uint64, flags int, mode uint32) reply {
	place, done, ok := s.procPlace(name, flags&unix.O_NOFOLLOW == 0)
	defer done()
	if !ok {
		return natural
	}
	own := len(place) > len("/proc/") && place[len("/proc/")] <= '9'
	if !own && flags&(unix.O_ACCMODE|unix.O_CREAT|unix.O_TRUNC) != 0 {
		return natural // the settings of the machine are not a step's
	}
	fd, err := unix.Open(place, flags|unix.O_CLOEXEC|unix.O_NOCTTY, mode)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	if !s.alive() {
		return natural
	}
	return s.sendFile(fd, flags&unix.O_CLOEXEC != 0)
}

func (s *supervisor) procReadlink(name, to, size uint64) reply {
	place, done, ok := s.procPlace(name, false)
	defer done()
	if !ok {
		return natural
	}
	caller := strconv.FormatUint(uint64(s.req.pid), 10)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(place, buf)
	if err != nil {
		return failed(err)
	}
	text := string(buf[:n])
	switch root := procRoot(caller); {
	case place == "/proc/self":
		text = status("/proc/"+caller, "Tgid")
	case place == "/proc/thread-self":
		text = status("/proc/"+caller, "Tgid") + "/task/" + caller
	case text == root:
		text = "/"
	default: // the step's root is not ours
		text = strings.TrimPrefix(text, strings.TrimSuffix(root, "/"))
	}
	data := []byte(text)[:min(uint64(len(text)), size)]
	if r := s.procWrite(to, data); r.errno != 0 || r.goOn {
		return r
	}
	return reply{value: int64(len(data))}
}

func (s *supervisor) procStat(name, to uint64, flags int) reply {
	place, done, ok := s.procPlace(name, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	defer done()
	if !ok {
		return natural
	}
	var st unix.Stat_t
	if err := unix.Fstatat(unix.AT_FDCWD, place, &st, flags); err != nil {
		return failed(err)
	}
	return s.procWrite(to, bytesOf(&st))
}

func (s *supervisor) procStatx() reply {
	flags := s.flags(2)
	place, done, ok := s.procPlace(s.req.args[1], flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	defer done()
	if !ok {
		return natural
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, place, flags, int(uint32(s.req.args[3])), &st); err != nil {
		return failed(err)
	}
	return s.procWrite(s.req.args[4], bytesOf(&st))
}

func (s *supervisor) procAccess(name uint64, mode uint32, flags int) reply {
	place, done, ok := s.procPlace(name, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	defer done()
	if !ok {
		return natural
	}
	if err := unix.Faccessat(unix.AT_FDCWD, place, mode, flags); err != nil {
		return failed(err)
	}
	return reply{}
}

// procAttributes tells that files of /proc have no attributes.
func (s *supervisor) procAttributes(follow bool) reply {
	_, done, ok := s.procPlace(s.req.args[0], follow)
	defer done()
	if !ok {
		return natural
	}
	return reply{errno: unix.ENOTSUP}
}
