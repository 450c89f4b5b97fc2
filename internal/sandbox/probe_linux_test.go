package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// probeVar makes this program one of the image, which makes the calls that no
// program of busybox makes and prints what came of them.
const probeVar = "OCIBUILD_SANDBOX_PROBE"

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// What a program sees is what the kernel shows with many ids.
func TestOwnersAsProgramsSeeThem(t *testing.T) {
	needIDs(t)
	if !static(t) {
		t.Skip("SKIPPED: this program is not static (race detector), and so none of an image")
	}
	im := newImage(t, func(lower string) {
		data, err := os.ReadFile("/proc/self/exe")
		must(t, err)
		must(t, os.WriteFile(lower+"/bin/probe", data, 0o755))
		must(t, unix.Chmod(lower+"/tmp", 0o1777))
	})
	want := `statx 5:6, fstat 5:6, by name 5:6, of the link 7:8
without a name 1000:1000
openat2 1000:1000
listed user.mine
listed of the link nothing
threads 1000:1000
a limit for nobody 1000:1000
peer 1234:1235
of a set-user-ID program 1000 77 77, 1000 88 88
and of one that does not execute 1000 1000 1000
`
	if out := im.run(Spec{Args: []string{"/bin/probe"}, Env: []string{probeVar + "=all", "PATH=/bin"}}).ok(t); out != want {
		t.Error(cmp.Diff(want, out))
	}
}

// probe is the program of the image.
func probe(what string) int {
	if what == "who" {
		fmt.Println("of a set-user-ID program", resIDs(unix.SYS_GETRESUID)+",", resIDs(unix.SYS_GETRESGID))
		return 0
	}
	if what == "rise" {
		say(exec0("/tmp/rise", probeVar+"=who"))
	}
	if what == "stumble" {
		if err := exec0("/tmp/garbage", ""); !errors.Is(err, unix.ENOEXEC) {
			fmt.Println(err)
		}
		fmt.Println("and of one that does not execute", resIDs(unix.SYS_GETRESUID))
		return 0
	}
	if what == "keys" {
		ring, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
		fmt.Println(ring, err)
		return 0
	}
	if what == "connect" {
		c, err := net.Dial("unix", "/tmp/socket")
		say(err)
		c.Read(make([]byte, 1)) // until the other end has looked
		return 0
	}
	unix.Umask(0)
	probeStat()
	probeCreate()
	probeLists()
	probeThreads()
	probePeer()
	probeExec()
	return 0
}

func say(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func ids(st *unix.Stat_t) string { return fmt.Sprintf("%d:%d", st.Uid, st.Gid) }

func probeStat() {
	f, err := os.Create("/tmp/f")
	say(err)
	say(f.Chown(5, 6))
	say(os.Symlink("f", "/tmp/l"))
	say(os.Lchown("/tmp/l", 7, 8))
	var x unix.Statx_t
	say(unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &x))
	var opened, named, link unix.Stat_t
	say(unix.Fstat(int(f.Fd()), &opened))
	say(unix.Stat("/tmp/l", &named))
	dir, err := unix.Open("/tmp", unix.O_PATH, 0)
	say(err)
	say(unix.Fstatat(dir, "l", &link, unix.AT_SYMLINK_NOFOLLOW))
	fmt.Printf("statx %d:%d, fstat %s, by name %s, of the link %s\n", x.Uid, x.Gid, ids(&opened), ids(&named), ids(&link))
}

// probeCreate makes files as another user, on this thread alone.
func probeCreate() {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- createAs(1000)
	}()
	say(<-done)
}

func createAs(id uintptr) error {
	unix.RawSyscall(unix.SYS_SETFSGID, id, 0, 0)
	unix.RawSyscall(unix.SYS_SETFSUID, id, 0, 0)
	defer unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0) // for all threads, where identities are those of a process
	defer unix.RawSyscall(unix.SYS_SETFSGID, 0, 0, 0)
	var st unix.Stat_t
	fd, err := unix.Open("/tmp", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o640)
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		return fmt.Errorf("open without a name: %w", err)
	}
	fmt.Println("without a name", ids(&st))
	fd, err = unix.Openat2(unix.AT_FDCWD, "/tmp/o", &unix.OpenHow{Flags: unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY, Mode: 0o600, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		return fmt.Errorf("openat2: %w", err)
	}
	fmt.Println("openat2", ids(&st))
	return nil
}

func probeLists() {
	say(unix.Setxattr("/tmp/f", "user.mine", []byte("1"), 0))
	buf := make([]byte, 1000)
	n, err := unix.Listxattr("/tmp/f", buf)
	say(err)
	fmt.Println("listed", strings.Trim(string(bytes.ReplaceAll(buf[:n], []byte{0}, []byte(" "))), " "))
	size, err := unix.Llistxattr("/tmp/l", nil)
	say(err)
	if size == 0 {
		fmt.Println("listed of the link nothing")
	}
}

// probeThreads becomes another user with all threads, for good, in a child.
func probeThreads() {
	say(syscall.Setresgid(1000, 1000, 0))
	say(syscall.Setresuid(1000, 1000, 0))
	done := make(chan string)
	go func() {
		runtime.LockOSThread()
		done <- fmt.Sprintf("%d:%d", unix.Geteuid(), unix.Getegid())
	}()
	fmt.Println("threads", <-done)
	say(unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: 0, Max: unix.RLIM_INFINITY}))
	fmt.Printf("a limit for nobody %d:%d\n", unix.Geteuid(), unix.Getegid())
	say(syscall.Setresuid(0, 0, 0))
	say(syscall.Setresgid(0, 0, 0))
}

func probePeer() {
	l, err := net.Listen("unix", "/tmp/socket")
	say(err)
	say(unix.Chmod("/tmp/socket", 0o777))
	cmd := exec.Command("/bin/probe")
	cmd.Env = []string{probeVar + "=connect"}
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1235}}
	say(cmd.Start())
	c, err := l.Accept()
	say(err)
	raw, err := c.(*net.UnixConn).SyscallConn()
	say(err)
	var cred unix.Ucred
	say(raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(cred))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERCRED, uintptr(unsafe.Pointer(&cred)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 || int(cred.Pid) != cmd.Process.Pid {
			fmt.Println("peer:", errno, cred.Pid, cmd.Process.Pid)
		}
	}))
	fmt.Printf("peer %d:%d\n", cred.Uid, cred.Gid)
	say(c.Close())
	say(cmd.Wait())
}

// probeExec executes programs with set-id bits as another user.
func probeExec() {
	program, err := os.ReadFile("/bin/probe")
	say(err)
	say(os.WriteFile("/tmp/rise", program, 0o755))
	say(os.WriteFile("/tmp/garbage", []byte("garbage"), 0o755))
	for _, name := range []string{"/tmp/rise", "/tmp/garbage"} {
		say(os.Chown(name, 77, 88))
		say(unix.Chmod(name, 0o6755))
	}
	for _, what := range []string{"rise", "stumble"} {
		cmd := exec.Command("/bin/probe")
		cmd.Env = []string{probeVar + "=" + what}
		cmd.Stdout = os.Stdout
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		say(cmd.Run())
	}
}

func exec0(name, env string) error { return unix.Exec(name, []string{name}, []string{env}) }

func resIDs(call uintptr) string {
	var r, e, s uint32
	unix.RawSyscall(call, uintptr(unsafe.Pointer(&r)), uintptr(unsafe.Pointer(&e)), uintptr(unsafe.Pointer(&s)))
	return fmt.Sprint(r, e, s)
}
