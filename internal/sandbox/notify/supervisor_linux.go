package notify

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// supervisor answers the calls of one step, one after the other: a second
// thread that waits would be woken for each of them too, which costs more than
// the answer.
type supervisor struct {
	listener int
	proc     int // O_PATH handle of the worker's /proc, which is the working directory
	handlers map[number]func(*supervisor) reply
	req      notification

	entered bool // the root directory is that of the step
	moved   bool // some process may have another one

	identities []identity
	numbers    map[string]uint64   // of identities, by their text
	spent      int                 // bytes of these texts
	execs      map[string]*execing // by thread group
	missed     int                 // look-ups of others than these

	at procState // of one that answers for /proc
}

// reply is the answer to a call. The zero value is success with 0.
type reply struct {
	value int64
	errno unix.Errno
	goOn  bool // let the kernel do the call as it stands
	sent  bool // answered already
}

func value(id uint32) reply { return reply{value: int64(id)} }

// natural leaves the call to the kernel: where nothing is to be added, and where
// something is wrong with the arguments, which the kernel knows to tell.
var natural = reply{goOn: true}

// failed answers with the error of a call that was made for the step.
func failed(err error) reply {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		errno = unix.EIO
	}
	return reply{errno: errno}
}

// The arguments of the call.
func (s *supervisor) fd(i int) int      { return int(int32(s.req.args[i])) }
func (s *supervisor) id(i int) uint32   { return uint32(s.req.args[i]) }
func (s *supervisor) mode(i int) uint32 { return uint32(s.req.args[i]) & 0o177777 }
func (s *supervisor) flags(i int) int   { return int(int32(s.req.args[i])) }

// serve answers until the step is over.
func (s *supervisor) serve() error {
	// A step and its supervisor take turns; the kernel need not look for an
	// idle processor. Kernels before 6.6 do not know of it.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	for {
		s.req = notification{}
		err := ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&s.req))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOENT): // the process died meanwhile, or all have
			if s.over() {
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("wait for a call: %w", err)
		}
		if err := s.enter(); err != nil {
			return err
		}
		s.send(s.handlers[s.req.what](s))
	}
}

func (s *supervisor) over() bool {
	fds := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLHUP != 0
}

// send answers. That nobody is there to hear it any more is no error.
func (s *supervisor) send(r reply) {
	if r.sent {
		return
	}
	resp := response{id: s.req.id, val: r.value, errno: -int32(r.errno)}
	if r.goOn {
		resp = response{id: s.req.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	}
	_ = ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&resp))
}

// sendFile answers with a descriptor that the process gets of the file fd.
func (s *supervisor) sendFile(fd int, cloexec bool) reply {
	in := injection{id: s.req.id, flags: unix.SECCOMP_ADDFD_FLAG_SEND, srcfd: uint32(fd)}
	if cloexec {
		in.newflags = unix.O_CLOEXEC
	}
	if err := ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&in)); err != nil {
		return failed(err)
	}
	return reply{sent: true}
}

// alive tells whether the process still waits for its answer: if so, its number
// has not become another's.
func (s *supervisor) alive() bool {
	id := s.req.id
	return ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
}

// enter takes the root directory of the calling process for our own. All have
// the same, until one of them asks for another.
func (s *supervisor) enter() error {
	if s.entered && !s.moved {
		return nil
	}
	root, err := unix.Open(s.of("root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil && s.entered {
		return nil // the process is dead, and what is done for it shows nowhere
	}
	if err != nil {
		return fmt.Errorf("open the root of the step: %w", err)
	}
	defer unix.Close(root)
	err = unix.Fchdir(root)
	if err == nil {
		err = unix.Chroot(".")
	}
	if err == nil {
		err = unix.Fchdir(s.proc)
	}
	if err != nil {
		return fmt.Errorf("enter the root of the step: %w", err)
	}
	if !s.entered {
		s.entered = true
		return s.begin()
	}
	return nil
}

// move is told before a process changes its root directory.
func (s *supervisor) move() reply {
	s.moved = true
	return natural
}

// of names a file of the calling process in /proc.
func (s *supervisor) of(name string) string {
	return strconv.FormatUint(uint64(s.req.pid), 10) + "/" + name
}
