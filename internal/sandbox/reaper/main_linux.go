package reaper

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

func init() {
	if len(os.Args) == 1 && os.Args[0] == Name {
		main()
	}
}

// main ends the process. Initialisers run on the main thread and stay there, so
// the stage, which dies with the thread that started it, does not die too early.
func main() {
	for _, fd := range []int{controlFD, statusFD} {
		if !isPipe(fd) {
			fmt.Fprintln(os.Stderr, Name+": is only started by ocibuild itself")
			os.Exit(125)
		}
		unix.CloseOnExec(fd)
	}
	unix.CloseOnExec(holdFD)
	status, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, Name+":", err)
		os.Exit(125)
	}
	_, _ = unix.Write(statusFD, []byte(strconv.Itoa(status))) // nobody listens any more, perhaps
	unix.Exit(0)                                              // not os.Exit, by which the race detector takes a second
}

func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

func run() (status int, err error) {
	var before sessions
	err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if errors.Is(err, unix.EINVAL) {
		before, err = sessionsNow(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("adopt orphans: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("make the reaper unreadable: %w", err)
	}
	ignoreTerminal()
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket: %w", err)
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{stage.ChrootName}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, 3, 4, uintptr(sockets[1])}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("start the stage: %w", err)
	}
	unix.Close(sockets[1])
	unix.Close(3)
	unix.Close(4)
	go showProc(sockets[0])
	c, err := find(pid) // before it is waited for, so that the number is its own
	if err != nil {
		return 0, errors.Join(fmt.Errorf("find the stage: %w", err), unix.Kill(pid, unix.SIGKILL))
	}
	go pass(c)
	for {
		got, status, err := wait(0)
		if err != nil {
			return 0, fmt.Errorf("wait for the command: %w", err)
		}
		if got == pid {
			c.gone.Store(true)
			killAll(before)
			return status, nil
		}
	}
}

// showProc answers the step's calls on /proc, if the stage has it do so.
func showProc(socket int) {
	listener, err := notify.ReceiveProc(socket)
	if err != nil || listener < 0 {
		return
	}
	defer unix.Close(listener)
	runtime.LockOSThread()         // which acts as whoever asks
	_ = notify.ServeProc(listener) // without it the calls fail
}

// ignoreTerminal ignores the signals that a terminal sends to a whole group. The
// stage makes the command's signals its own again.
func ignoreTerminal() {
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGTERM, unix.SIGTSTP} {
		ignore(sig)
	}
}

// command is the process of the command.
type command struct {
	pid    int
	handle int // a pidfd, -1 for none
	gone   atomic.Bool
}

func find(pid int) (*command, error) {
	handle, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // before Linux 5.3, or forbidden by a container's filter
		return &command{pid: pid, handle: -1}, nil
	}
	return &command{pid: pid, handle: handle}, err
}

// signal sends a signal unless the command has ended. Without a handle the number
// may, in the moment of its end, be another process's already; numbers have to be
// used up for that.
func (c *command) signal(sig unix.Signal) {
	switch {
	case c.handle >= 0:
		_ = unix.PidfdSendSignal(c.handle, sig, nil, 0)
	case !c.gone.Load():
		_ = unix.Kill(c.pid, sig)
	}
}

// pass passes signals on to the command, and kills it when there is nobody to
// send any.
func pass(c *command) {
	var b [1]byte
	for {
		n, err := unix.Read(controlFD, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			b[0] = byte(unix.SIGKILL)
		}
		c.signal(unix.Signal(b[0]))
		if err != nil || n == 0 {
			return
		}
	}
}

func wait(flags int) (pid, status int, err error) {
	var ws unix.WaitStatus
	for {
		pid, err = unix.Wait4(-1, &ws, flags, nil)
		if err != unix.EINTR {
			return pid, int(ws), err
		}
	}
}
