// Command attack does what a shell cannot, within a build step: it is copied
// into images by the tests of package threats, and nothing else uses it.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 || attacks[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "attack: not one of these:", os.Args[1:])
		os.Exit(2)
	}
	if err := attacks[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

var attacks = map[string]func(args []string) error{
	"swap": swap, "socket": socket, "write-program": writeProgram, "trace": trace, "descriptors": descriptors, "abstract": abstract, "agent": agent, "peek": peek,
}

// swap exchanges two names for a while: swap MILLISECONDS A B
func swap(args []string) error {
	ms, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
		if err := unix.Renameat2(unix.AT_FDCWD, args[1], unix.AT_FDCWD, args[2], unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
	return nil
}

// socket wants that a family of sockets cannot be had: socket NUMBER
func socket(args []string) error {
	family, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_SEQPACKET, 0)
	if err == nil {
		unix.Close(fd)
		return fmt.Errorf("a socket of family %d was made", family)
	}
	return nil
}

// writeProgram tries to write to the program of process 1, through every way
// that /proc shows to it.
func writeProgram([]string) error {
	for _, name := range []string{"/proc/1/exe", "/proc/self/exe"} {
		fd, err := unix.Open(name, unix.O_PATH, 0)
		if err != nil {
			continue
		}
		for _, how := range []string{name, fmt.Sprintf("/proc/self/fd/%d", fd)} {
			for _, flags := range []int{unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC, unix.O_WRONLY | unix.O_APPEND} {
				if f, err := unix.Open(how, flags, 0); err == nil && name == "/proc/1/exe" {
					_, werr := unix.Write(f, []byte("overwritten"))
					return fmt.Errorf("%s was opened for writing: %w", how, werr)
				}
			}
		}
	}
	return nil
}

// trace wants that no process outside of the step can be traced or signalled.
func trace([]string) error {
	for pid := 2; pid < 2000; pid++ {
		if pid == os.Getpid() || unix.Kill(pid, 0) != nil {
			continue
		}
		if parent, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || len(parent) == 0 {
			return fmt.Errorf("process %d answers and is not of this step", pid)
		}
	}
	return nil
}

// peek prints the numbers of the processes that can be traced, among those named;
// each is let go at once: peek PID…
func peek(args []string) error {
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0); errno == 0 {
			fmt.Println(pid)
		}
	}
	return nil
}

// descriptors prints what is open beyond the three that everybody has.
func descriptors([]string) error {
	for fd := 3; fd < 4096; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			continue
		}
		to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil || to == "anon_inode:[eventpoll]" || to == "anon_inode:[eventfd]" || strings.HasPrefix(to, "/sys/fs/cgroup/") {
			continue // the Go runtime's own
		}
		return fmt.Errorf("descriptor %d is open: %s", fd, to)
	}
	return nil
}

// abstract wants that nobody listens on an abstract socket: abstract NAME
func abstract(args []string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + args[0]}) == nil {
		return fmt.Errorf("the host's abstract socket %s can be reached", args[0])
	}
	return nil
}

// agent wants that an agent lists its keys, and lets nobody remove them, add to
// them or lock them (draft-miller-ssh-agent, section 5).
func agent([]string) error {
	const list, answer, success = 11, 12, 6
	for _, request := range []byte{list, 17, 19, 22, 20, 25, 26} {
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", os.Getenv("SSH_AUTH_SOCK"))
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{0, 0, 0, 5, request, 0, 0, 0, 0}); err != nil {
			return err
		}
		var head [5]byte
		_, err = io.ReadFull(conn, head[:])
		switch {
		case request == list && (err != nil || head[4] != answer):
			return fmt.Errorf("the agent does not list its keys: %v, %w", head, err)
		case request != list && err == nil && head[4] == success:
			return fmt.Errorf("the agent has done request %d", request)
		}
	}
	return nil
}
