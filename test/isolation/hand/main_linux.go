// Command hand does what busybox cannot, within a build step: it is in the base
// image of the tests of package isolation, and nothing else uses it.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 3 || deeds[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "hand: not one of these:", os.Args[1:])
		os.Exit(2)
	}
	if err := deeds[os.Args[1]](os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "hand:", err)
		os.Exit(1)
	}
}

var errArguments = errors.New("not the arguments that it takes")

// deeds take the name of a file and, some of them, more.
var deeds = map[string]func(file string, args []string) error{
	"lchmod": lchmod, "unnamed": unnamed, "within": within,
	"ask": ask, "getxattr": getxattr, "setxattr": setxattr, "removexattr": removexattr, "socket": socket, "utime": utime,
}

// ask prints what the server of a socket says.
func ask(path string, _ []string) error {
	c, err := (&net.Dialer{}).DialContext(context.Background(), "unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(os.Stdout, c)
	return err
}

// socket leaves a socket at a path.
func socket(path string, _ []string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}

// within prints a file that it finds by an open directory: within DIR FILE
func within(dir string, args []string) error {
	if len(args) != 1 {
		return errArguments
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	fd, err := unix.Openat(int(d.Fd()), args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), args[0])
	defer f.Close()
	_, err = io.Copy(os.Stdout, f)
	return err
}

// lchmod makes a file and changes its mode as the C library does for a name that
// may be a link: lchmod FILE MODE
func lchmod(file string, args []string) error {
	if len(args) != 1 {
		return errArguments
	}
	mode, err := strconv.ParseUint(args[0], 8, 32)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	fd, err := unix.Open(file, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), uint32(mode))
}

// unnamed writes a file that has no name, and then gives it one.
func unnamed(file string, _ []string) error {
	fd, err := unix.Open(".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("linked\n")); err != nil {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, file, unix.AT_SYMLINK_FOLLOW)
}

// getxattr prints an attribute: getxattr FILE NAME
func getxattr(file string, args []string) error {
	if len(args) != 1 {
		return errArguments
	}
	var buf [1 << 10]byte
	n, err := unix.Lgetxattr(file, args[0], buf[:])
	if err != nil {
		return err
	}
	fmt.Printf("%x\n", buf[:n])
	return nil
}

// setxattr sets an attribute to a value in hexadecimal: setxattr FILE NAME VALUE
func setxattr(file string, args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	value, err := hex.DecodeString(args[1])
	if err != nil {
		return err
	}
	return unix.Lsetxattr(file, args[0], value, 0)
}

func removexattr(file string, args []string) error {
	if len(args) != 1 {
		return errArguments
	}
	return unix.Lremovexattr(file, args[0])
}

// utime sets the time of the last change: utime FILE SECONDS NANOSECONDS
func utime(file string, args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	sec, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	nsec, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	at, err := unix.TimeToTimespec(time.Unix(sec, nsec))
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}
