package notify

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ProcFilter is a filter for a step that has a changed root and neither /proc nor
// /sys in it. It hands over the calls that open, read, change and execute what a
// path names, for [ServeProc] to answer those on /proc and /sys. Calls that name a
// file by an open directory are left alone, because most programs that walk trees
// make those; only [highFD] and the descriptors behind it are looked at.
func ProcFilter() []byte { return filterOf(procABIs) }

// highFD is the first descriptor that the directory /proc gets in a step: the
// processes of the container that are not the step's stay hidden behind it. Few
// programs have so many open files of their own.
const highFD = 512

// high is true for the working directory too, AT_FDCWD.
var high = []condition{{0, unix.BPF_JGE, highFD}}

// procCalls are the calls that all processors have.
var procCalls = []call{
	{number: unix.SYS_OPENAT, only: high, handle: func(s *supervisor) reply {
		return s.procOpen(s.fd(0), s.req.args[1], int(uint32(s.req.args[2])), uint32(s.req.args[3]))
	}},
	{number: unix.SYS_READLINKAT, only: high, handle: func(s *supervisor) reply {
		return s.procReadlink(s.fd(0), s.req.args[1], s.req.args[2], s.req.args[3])
	}},
	{number: sysFstatat, only: high, handle: func(s *supervisor) reply {
		return s.procStat(s.fd(0), s.req.args[1], s.req.args[2], s.flags(3))
	}},
	{number: unix.SYS_STATX, only: high, handle: (*supervisor).procStatx},
	{number: unix.SYS_FACCESSAT, only: high, handle: func(s *supervisor) reply {
		return s.procAccess(s.fd(0), s.req.args[1], s.mode(2), 0)
	}},
	{number: unix.SYS_FACCESSAT2, only: high, handle: func(s *supervisor) reply {
		return s.procAccess(s.fd(0), s.req.args[1], s.mode(2), s.flags(3))
	}},
	{number: unix.SYS_FCHMODAT, only: high, handle: func(s *supervisor) reply {
		return s.procChmod(s.fd(0), s.req.args[1], s.mode(2))
	}},
	{number: unix.SYS_FCHOWNAT, only: high, handle: func(s *supervisor) reply {
		return s.procChown(s.fd(0), s.req.args[1], s.id(2), s.id(3), s.flags(4))
	}},
	{number: unix.SYS_LINKAT, only: high, handle: (*supervisor).procLink},
	{number: unix.SYS_TRUNCATE, handle: (*supervisor).procTruncate},
	{number: unix.SYS_STATFS, handle: (*supervisor).procStatfs},
	{number: unix.SYS_GETXATTR, handle: func(s *supervisor) reply { return s.procAttributes(true) }},
	{number: unix.SYS_LISTXATTR, handle: func(s *supervisor) reply { return s.procAttributes(true) }},
	{number: unix.SYS_LGETXATTR, handle: func(s *supervisor) reply { return s.procAttributes(false) }},
	{number: unix.SYS_LLISTXATTR, handle: func(s *supervisor) reply { return s.procAttributes(false) }},
	{number: unix.SYS_CHDIR, handle: (*supervisor).procChdir},
	{number: unix.SYS_EXECVE, handle: (*supervisor).procExec},
}

// procState is what the supervisor of /proc remembers.
type procState struct {
	terminals []string  // that were there before the step
	wandered  string    // the process that went to /proc last, so that relative names may lie there
	executed  execution // the last program that was named by a link of /proc
}

// ServeProc answers the calls on /proc and /sys that the filter behind listener
// hands over, from what this process sees there, until the step is over. The
// calling goroutine must stay on its thread.
func ServeProc(listener int) error {
	s := &supervisor{listener: listener, handlers: map[number]func(*supervisor) reply{}}
	entries, _ := os.ReadDir("/dev/pts") // a container without terminals has none
	for _, e := range entries {
		s.at.terminals = append(s.at.terminals, "/dev/pts/"+e.Name())
	}
	s.at.terminals = slices.DeleteFunc(s.at.terminals, func(p string) bool { return p == "/dev/pts/ptmx" })
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
	// HiddenSys are those of /sys.
	HiddenSys = []string{"sys/firmware", "sys/devices/virtual/powercap"}
)

// hidden tells whether an absolute path is one of them, or in one.
func hidden(text string) bool {
	return slices.ContainsFunc(slices.Concat(HiddenFiles, HiddenDirs, HiddenSys), func(p string) bool {
		return within(text[1:], p)
	})
}

// within tells whether a path is dir or lies in it.
func within(text, dir string) bool {
	rest, ok := strings.CutPrefix(text, dir)
	return ok && (rest == "" || rest[0] == '/')
}
