package reaper

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

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
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("adopt orphans: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("make the reaper unreadable: %w", err)
	}
	ignoreTerminal()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{stage.ChrootName}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, 3, 4}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("start the stage: %w", err)
	}
	unix.Close(3)
	unix.Close(4)
	// Before it is waited for, so that the number is its own.
	command, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("find the stage: %w", err), unix.Kill(pid, unix.SIGKILL))
	}
	go pass(command)
	for {
		got, status, err := wait(0)
		if err != nil {
			return 0, fmt.Errorf("wait for the command: %w", err)
		}
		if got == pid {
			killAll()
			return status, nil
		}
	}
}

// ignoreTerminal ignores the signals that a terminal sends to a whole group. The
// stage makes the command's signals its own again.
func ignoreTerminal() {
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGTERM, unix.SIGTSTP} {
		ignore(sig)
	}
}

// pass passes signals on to the command, and kills it when there is nobody to
// send any.
func pass(command int) {
	var b [1]byte
	for {
		n, err := unix.Read(controlFD, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			b[0] = byte(unix.SIGKILL)
		}
		_ = unix.PidfdSendSignal(command, unix.Signal(b[0]), nil, 0) // it may have ended
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
