package notify

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procPath is what a call names, as this process finds it.
type procPath struct {
	place string
	text  string // as the step says it, absolute
	kind  procKind
	done  func() // to be called when the call is answered
}

type procKind int

const (
	elsewhere procKind = iota // outside of /proc and /sys: the kernel does the call
	absent                    // not for the step to see
	machine                   // for reading only
	theirs                    // of a process of the step
)

// procLinks are links that lead to /proc.
var procLinks = map[string]string{
	"/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2", "/dev/fd": "/proc/self/fd",
}

// answer resolves what a call names. If it is in /proc or /sys, do answers the
// call, as the user who makes it.
func (s *supervisor) answer(dir int, name uint64, follow bool, do func(procPath) reply) reply {
	p := s.procPlace(dir, name, follow)
	defer p.done()
	switch p.kind {
	case elsewhere:
		return natural
	case absent:
		return reply{errno: unix.ENOENT}
	}
	return do(p)
}

// procPlace resolves the path of a call.
func (s *supervisor) procPlace(dir int, name uint64, follow bool) procPath {
	text, done, err := s.procText(name)
	p := procPath{done: done}
	if err != nil || text == "" {
		return p
	}
	if text[0] != '/' {
		if text = s.procRelative(dir, text); text == "" {
			return p
		}
	}
	p.text, follow = s.procName(text, follow)
	p.place, p.kind = s.procResolve(p.text, follow)
	if p.kind != elsewhere {
		p.done = s.actAsCaller(done)
	}
	return p
}

// procName cleans an absolute path and follows the links that lead to /proc.
func (s *supervisor) procName(text string, follow bool) (string, bool) {
	follow = follow || strings.HasSuffix(text, "/") || strings.HasSuffix(text, "/.")
	text = path.Clean(text)
	if rest, ok := strings.CutPrefix(text, "/dev/fd/"); ok {
		return "/proc/self/fd/" + rest, follow
	}
	if !follow {
		return text, false
	}
	if to, ok := procLinks[text]; ok {
		return to, true
	}
	if text == "/etc/mtab" && s.linksToMounts() {
		return "/proc/self/mounts", true
	}
	return text, true
}

// procResolve finds an absolute path as this process has to name it.
func (s *supervisor) procResolve(text string, follow bool) (string, procKind) {
	switch {
	case within(text, "/proc"):
		return s.ofProcess(strings.Split(strings.TrimPrefix(text[len("/proc"):], "/"), "/"), text, follow)
	case within(text, "/sys"):
		return s.ofMachine(text)
	case text == "/dev/ptmx", within(text, "/dev/pts") && !slices.Contains(s.at.terminals, text):
		return text, theirs
	}
	return "", elsewhere
}

// ofMachine is a path that all processes share.
func (s *supervisor) ofMachine(text string) (string, procKind) {
	if hidden(text) {
		return "", absent
	}
	return text, machine
}

// procRelative makes a relative name absolute if it starts at a directory that may
// be /proc, "" if it does not.
func (s *supervisor) procRelative(dir int, text string) string {
	caller := "/proc/" + s.caller()
	if dir != unix.AT_FDCWD {
		if at := readlink(caller + "/fd/" + strconv.Itoa(dir)); at == "/proc" {
			return "/proc/" + text
		}
		return ""
	}
	if s.at.wandered == "" {
		return ""
	}
	at := strings.TrimPrefix(readlink(caller+"/cwd"), procRoot(s.caller()))
	if !within(at, "/proc") && !within(at, "/sys") {
		return ""
	}
	if rest, ok := strings.CutPrefix(at, "/proc/self"); ok { // of whoever went there
		at = "/proc/" + s.at.wandered + rest
	}
	return at + "/" + text
}

func (s *supervisor) caller() string { return strconv.FormatUint(uint64(s.req.pid), 10) }

// ofProcess resolves the first part of a path in /proc for the calling process, and
// refuses processes that are not of the step, which have another root.
func (s *supervisor) ofProcess(parts []string, text string, follow bool) (string, procKind) {
	caller := s.caller()
	follow = follow || len(parts) > 1
	switch first := parts[0]; {
	case (first == "mounts" || first == "net") && follow: // links to those of the process
		parts = append([]string{status("/proc/"+caller, "Tgid")}, parts...)
	case first == "self" && follow:
		parts[0] = status("/proc/"+caller, "Tgid")
	case first == "thread-self" && follow:
		parts[0] = status("/proc/"+caller, "Tgid") + "/task/" + caller
	case !isNumber(first):
		return s.ofMachine(text)
	case procRoot(first) != procRoot(caller) || procRoot(caller) == "":
		return "", absent
	}
	if parts[0] == "" || behindLink(parts) {
		return "", absent
	}
	return "/proc/" + strings.Join(parts, "/"), theirs
}

// isNumber tells the name of a process from others in /proc.
func isNumber(name string) bool { return name != "" && name[0] >= '0' && name[0] <= '9' }

// behindLink tells whether a path goes through a link to a file of the step, behind
// which links would lead us elsewhere.
func behindLink(parts []string) bool {
	if len(parts) > 2 && parts[1] == "task" {
		parts = parts[2:]
	}
	switch {
	case len(parts) > 3:
		return slices.Contains([]string{"root", "cwd", "exe", "fd"}, parts[1])
	case len(parts) > 2:
		return slices.Contains([]string{"root", "cwd", "exe"}, parts[1])
	}
	return false
}

// linksToMounts tells whether the image says that /etc/mtab is what /proc tells.
func (s *supervisor) linksToMounts() bool {
	if undo := s.actAsCaller(nil); undo != nil {
		defer undo()
	}
	root, err := unix.Open("/proc/"+s.caller()+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(root, "etc/mtab", buf)
	if err != nil {
		return false
	}
	to := string(buf[:n])
	return strings.HasSuffix(to, "/proc/mounts") || strings.HasSuffix(to, "/proc/self/mounts")
}

// procRoot is the root directory of a process, "" if it may not be known.
func procRoot(pid string) string { return readlink("/proc/" + pid + "/root") }

// readlink reads a link, "" if that is not possible.
func readlink(name string) string {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(name, buf)
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
	if done = s.actAsCaller(nil); done == nil {
		return "", func() {}, err
	}
	mem, err := unix.Open("/proc/"+s.caller()+"/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
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

// actAsCaller makes this thread the user who calls, for files, until what it
// returns is called. For root there is nothing to do: it returns done.
func (s *supervisor) actAsCaller(done func()) func() {
	var st unix.Stat_t
	if unix.Stat("/proc/"+s.caller(), &st) != nil || st.Uid == 0 {
		return done
	}
	setFS(st.Uid, st.Gid)
	return func() { setFS(0, 0) }
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
	mem, err := unix.Open("/proc/"+s.caller()+"/mem", unix.O_RDWR|unix.O_CLOEXEC, 0)
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
