package sandbox

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
)

// oddVar makes a test one of a builder that was started in an odd way.
const oddVar = "OCIBUILD_SANDBOX_ODD"

const noRandomAddresses = 0x0040000 // of personality(2)

// How the builder was started is no business of the step.
func TestStepOfAnOddBuilder(t *testing.T) {
	switch os.Getenv(oddVar) {
	case "":
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), oddVar+"=become")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), "SKIPPED: a static busybox") {
			t.Skip("SKIPPED: a static busybox is needed")
		}
	case "become":
		must(t, becomeOdd())
	default:
		own, err := os.ReadFile("/proc/self/personality")
		must(t, err)
		if !strings.HasPrefix(string(own), "00040000") {
			t.Fatalf("the builder is not odd: %s", own)
		}
		t.Run("sandbox", func(t *testing.T) { ordinary(t, nil) })
		through(t, ordinary)
	}
}

func becomeOdd() error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1)
	unix.Umask(0o077)
	if err := unix.Setdomainname([]byte("corp.example")); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 700, Max: 800}); err != nil {
		return err
	}
	mask := unix.Sigset_t{}
	mask.Val[0] = 1<<(unix.SIGUSR2-1) | 1<<(unix.SIGTERM-1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil); err != nil { // which execve keeps, of this thread
		return err
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, noRandomAddresses, 0, 0); errno != 0 {
		return errno
	}
	if err := os.Setenv(oddVar, "run"); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

func ordinary(t *testing.T, r *bundle.Runtime) {
	skipOwnKernel(t, r)
	im := newImage(t)
	script := `grep -E '^(SigBlk|SigIgn):' /proc/self/status; cat /proc/self/personality; umask; cat /proc/sys/kernel/domainname; ulimit -n; ulimit -Hn; ulimit -Hc; [ -z "$CANARY" ] || echo $CANARY`
	out := im.run(Spec{Args: shell(script)}.by(t, r)).ok(t)
	want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n00000000\n0022\n(none)\n800\n800\n0\n"
	if out != want {
		t.Errorf("got %q\nwant %q", out, want)
	}
}
