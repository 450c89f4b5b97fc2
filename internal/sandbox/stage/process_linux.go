package stage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prepareProcess sets what does not depend on the tree.
func prepareProcess(c *Config) error {
	forgetBuilder()
	raiseOOMScore(stepScore)
	if err := confine(c.Profile); err != nil {
		return err
	}
	// Nothing may look into this process while it holds handles of the host.
	// After raiseOOMScore: the files of a process that is not dumpable belong
	// to the real root, which in a user namespace is somebody else.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the stage unreadable: %w", err)
	}
	// Now, in its own control group, and not when it was started in another.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a namespace of control groups: %w", err)
	}
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return fmt.Errorf("set the host name to %q: %w", c.Hostname, err)
	}
	if err := leaveDomain(); err != nil {
		return err
	}
	if c.Loopback {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bring up the loopback device: %w", err)
		}
	}
	if c.Interactive {
		return takeTerminal()
	}
	return nil
}

// forgetBuilder gives the step the habits of a fresh process where the builder
// may have others: what mode new files have, and how the kernel presents itself
// (the personality of setarch).
func forgetBuilder() {
	unix.Umask(0o022)
	_, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, 0, 0, 0) // a filter that forbids it forbids to have another
}

// leaveDomain gives the step the name of a NIS domain that machines without one
// have: a new namespace begins with that of the old one.
func leaveDomain() error {
	if err := unix.Setdomainname([]byte("(none)")); err != nil {
		return fmt.Errorf("leave the domain of the machine: %w", err)
	}
	return nil
}

// raiseOOMScore makes the step a likelier victim than those who have the score that
// this process has. A kernel that refuses is no reason not to build.
func raiseOOMScore(by int) {
	fd, err := unix.Open("/proc/self/oom_score_adj", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var buf [16]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return
	}
	_, _ = unix.Pwrite(fd, []byte(strconv.Itoa(min(score+by, maxScore))), 0)
}

const (
	maxScore  = 1000
	stepScore = 100
	// chrootScore is for a step beside whose processes in its control group is their
	// keeper, which may be larger than they are.
	chrootScore = maxScore
)

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// takeTerminal makes the command the foreground job of the terminal on its
// standard input. The builder's own group is invisible from the new process
// namespace, and a shell that cannot see the foreground group gives up job
// control. Without a controlling terminal there is nothing to take.
func takeTerminal() error {
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil {
		return nil
	}
	if err := unix.Setpgid(0, 0); err != nil {
		return fmt.Errorf("make a process group: %w", err)
	}
	// From the background, taking the terminal stops the process unless the
	// signal is blocked. resetSignals unblocks it again.
	var mask unix.Sigset_t
	mask.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil); err != nil {
		return fmt.Errorf("block SIGTTOU: %w", err)
	}
	if err := unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, 1); err != nil {
		return fmt.Errorf("take the terminal: %w", err)
	}
	return nil
}

// shutFiles closes all but the standard files when the command is executed. They
// are marked for that: the Go runtime would miss its own descriptors.
func shutFiles() error {
	err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Before Linux 5.11, in gVisor, or in a container whose filter is older: one by one.
	var files unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &files); err != nil {
		return err
	}
	_, limit := Files(files.Max)
	const many = 64 // the runtime has fewer
	if unix.CloseRange(many, ^uint(0), 0) == nil {
		limit = many
	}
	for fd := uintptr(3); fd < uintptr(limit); fd++ {
		if _, err := unix.FcntlInt(fd, unix.F_SETFD, unix.FD_CLOEXEC); err != nil && !errors.Is(err, unix.EBADF) {
			return err
		}
	}
	return nil
}

// sigaction is the kernel's structure; only SIG_DFL, all zero, is ever set.
type sigaction struct {
	_ [4]uint64
}

// resetSignals gives the command the signals of a fresh process: what the
// builder ignored (nohup, a parent's SIGPIPE) is not the step's concern.
func resetSignals() {
	var action sigaction
	for sig := uintptr(1); sig <= 64; sig++ {
		// KILL, STOP and numbers that do not exist fail, rightly.
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
	var none unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
}

// setLimits undoes what the Go runtime did to this process (it raises the soft
// limit of open files to the hard one) and bounds what a step gets. Programs
// that close every possible descriptor are slow under a large soft limit. The
// step's own limits come last.
func setLimits(own []Rlimit) error {
	var files unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &files); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	files.Cur, files.Max = Files(files.Max)
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &files, nil); err != nil {
		return fmt.Errorf("set the limit of open files: %w", err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{}, nil); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	for _, l := range own {
		err := unix.Prlimit(0, l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil)
		if err == unix.EPERM {
			var have unix.Rlimit
			_ = unix.Prlimit(0, l.Resource, nil, &have) // only to say more
			return fmt.Errorf("set ulimit %s to %s:%s: this user may not raise it above %s", l.Name, limit(l.Soft), limit(l.Hard), limit(have.Max))
		}
		if err != nil {
			return fmt.Errorf("set ulimit %s to %s:%s: %w", l.Name, limit(l.Soft), limit(l.Hard), err)
		}
	}
	return nil
}

// Files are the limits of open files of a step, the hard one no higher than own.
func Files(own uint64) (soft, hard uint64) {
	hard = min(own, 524288)
	return min(hard, 1024), hard
}

func limit(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}
