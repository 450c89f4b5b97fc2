package sandbox

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

func TestCapabilities(t *testing.T) {
	im := newImage(t)
	// An ordinary user's namespace has them all, this machine's root may not.
	full := "Inh:0 Prm:a80425fb Eff:a80425fb Bnd:a80425fb Amb:0"
	for user, want := range map[string]string{
		"":     full,
		"1000": "Inh:0 Prm:0 Eff:0 Bnd:a80425fb Amb:0",
		"app":  "Inh:0 Prm:0 Eff:0 Bnd:a80425fb Amb:0",
	} {
		if user != "" {
			needTrueIDs(t)
		}
		out := im.run(Spec{Args: []string{"grep", "^Cap", "/proc/self/status"}, User: user}).ok(t)
		got := regexp.MustCompile(`Cap(\w+):\s+0*([0-9a-f]+)\s`).ReplaceAllString(out, "$1:$2 ")
		if strings.TrimSpace(got) != want {
			t.Errorf("capabilities of user %q: %s, want %s", user, got, want)
		}
	}
}

func TestIdentityOfProcess(t *testing.T) {
	needTrueIDs(t)
	im := newImage(t)
	for user, want := range map[string]string{
		"":           "0:0 0 10",
		"0":          "0:0 0 10",
		"app":        "1000:1000 10 1000 2000",
		"app:wheel":  "1000:10 10",
		"1234":       "1234:0 0",
		"1234:4321":  "1234:4321 4321",
		"root:extra": "0:2000 2000",
	} {
		out := im.run(Spec{Args: []string{"sh", "-c", `grep -E '^(Uid|Gid|Groups)' /proc/self/status`}, User: user}).ok(t)
		f := regexp.MustCompile(`Uid:\s+(\d+)\s.*\nGid:\s+(\d+)\s.*\nGroups:\s*(.*)\n`).FindStringSubmatch(out)
		if got := strings.TrimSpace(f[1] + ":" + f[2] + " " + strings.TrimSpace(f[3])); got != want {
			t.Errorf("user %q is %q, want %q", user, got, want)
		}
	}
}

func TestStdoutOfUserCanBeReopened(t *testing.T) {
	needIDs(t)
	im := newImage(t)
	out := im.run(Spec{Args: []string{"sh", "-c", "echo hello > /dev/stdout"}, User: "app"}).ok(t)
	if out != "hello\n" {
		t.Errorf("got %q", out)
	}
}

func TestSystemCallFilter(t *testing.T) {
	im := newImage(t)
	out := im.sh(`grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status
for c in "unshare -m true" "unshare -U true" "mount -t tmpfs x /tmp" "mount -o remount,rw /sys"; do $c 2>/dev/null && echo "$c works"; done; true`).ok(t)
	if out != "NoNewPrivs:\t0\nSeccomp:\t2\n" {
		t.Errorf("got %q", out)
	}
	if r := im.run(Spec{Args: []string{"mount", "-t", "tmpfs", "x", "/tmp"}, Insecure: true}); r.code != 0 {
		t.Errorf("an insecure step may mount: %s", r.out)
	}
}

func TestProtectedPaths(t *testing.T) {
	im := newImage(t)
	out := im.sh(`
for f in /proc/interrupts /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug; do
	[ -e $f ] && [ -n "$(head -c 1 $f | tr -d '\0')" ] && echo "$f has bytes"; done
for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap; do
	[ -d $d ] && [ -n "$(ls -A $d)" ] && echo "$d has entries"; done
for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run; do
	[ -e $f ] && (echo x > $f) 2>/dev/null && echo "$f can be written"; done
(mkdir /sys/fs/cgroup/x || echo 1 > /sys/fs/cgroup/cgroup.procs) 2>/dev/null && echo cgroup can be written
for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done
echo x > /dev/null; [ -d /dev/pts ] && [ -e /dev/ptmx ] && [ -d /dev/shm ] && [ -d /dev/mqueue ] || echo no pts
[ -e /dev/console ] && echo console; true`).ok(t)
	if out != "" {
		t.Errorf("got %s", out)
	}
	if out := im.sh("cat /proc/sys/kernel/hostname; echo $$; ulimit -n; ulimit -c; umask").ok(t); out != "ocibuild\n1\n1024\n0\n0022\n" {
		t.Errorf("got %q", out)
	}
}

func TestDevicesOfTheStepDoNotWork(t *testing.T) {
	im := newImage(t)
	out := im.sh("mknod /tmp/zero c 1 5 2>/dev/null; mknod /dev/shm/zero c 1 5 2>/dev/null; cat /tmp/zero /dev/shm/zero 2>/dev/null | head -c 1; true").ok(t)
	if out != "" {
		t.Errorf("read %q from a device", out)
	}
}

func TestKeysOfTheBuilderAreHidden(t *testing.T) {
	im := newImage(t)
	if out := im.sh("cat /proc/keys").ok(t); out != "" {
		t.Errorf("keys: %s", out)
	}
}

// A step that may ask for keys has a keyring of its own, which is empty.
func TestKeyringOfTheStep(t *testing.T) {
	if !static(t) {
		t.Skip("SKIPPED: this program is not static (race detector), and so none of an image")
	}
	ours, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	if err != nil {
		t.Skipf("SKIPPED: no keyrings here: %v", err)
	}
	im := newImage(t, func(lower string) {
		data, err := os.ReadFile("/proc/self/exe")
		must(t, err)
		must(t, os.WriteFile(lower+"/bin/probe", data, 0o755))
	})
	ask := Spec{Args: []string{"/bin/probe"}, Env: []string{probeVar + "=keys"}}
	if out := im.run(ask).ok(t); !strings.HasSuffix(out, "not permitted\n") {
		t.Errorf("the step may ask for keys: %s", out)
	}
	ask.Insecure = true
	out := im.run(ask).ok(t)
	if !strings.HasSuffix(out, " <nil>\n") || out == fmt.Sprintln(ours, nil) {
		t.Errorf("the builder's keyring is %d, that of the step %s", ours, out)
	}
}

// What else runs on the machine is not told by the names of its groups.
func TestControlGroupsOfTheHost(t *testing.T) {
	im := newImage(t)
	for _, network := range []Network{NetworkHost, NetworkNone} {
		out := im.run(Spec{Args: []string{"ls", "/sys/fs/cgroup"}, Network: network}).ok(t)
		// The root of the machine's groups is the one group without events.
		if own := stage.Unified() && strings.Contains(out, "cgroup.events\n"); out != "" && !own {
			t.Errorf("with network %s the step sees %s", network, out)
		}
	}
}

func TestDescriptors(t *testing.T) {
	im := newImage(t)
	leak, err := os.Open("/") // a careless program around us
	must(t, err)
	defer leak.Close()
	clearCloseOnExec(t, leak)
	out := im.sh("i=3; while [ $i -lt 200 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; ls /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 | wc -l").ok(t)
	if out != "3\n" {
		t.Errorf("open descriptors beside 0, 1, 2: %q", out)
	}
}

func TestNetworkNone(t *testing.T) {
	im := newImage(t)
	out := im.run(Spec{Args: []string{"sh", "-c", "ls /sys/class/net; grep -c : /proc/net/dev; ip -o addr show lo; nc -w 2 1.1.1.1 53 </dev/null && echo connected; true"}, Network: NetworkNone}).ok(t)
	if !strings.HasPrefix(out, "lo\n1\n") || !strings.Contains(out, "127.0.0.1/8") || strings.Contains(out, "connected") {
		t.Errorf("got %s", out)
	}
	if host := im.sh("readlink /proc/self/ns/net").ok(t); host != readlink(t, "/proc/self/ns/net")+"\n" {
		t.Errorf("the default is not the network of the host: %s", host)
	}
}

// TestAnyNumberOfOpenFiles: starting a process moves files to free numbers above
// those it is given, and the step starts whichever these are.
func TestAnyNumberOfOpenFiles(t *testing.T) {
	im := newImage(t)
	for n := 3; n < 130; n++ {
		fd, err := unix.FcntlInt(os.Stdin.Fd(), unix.F_DUPFD_CLOEXEC, n)
		must(t, err)
		stdin := os.NewFile(uintptr(fd), "stdin")
		p, err := Start(context.Background(), &Spec{Rootfs: im.root, Args: []string{"true"}}, Stdio{Stdin: stdin})
		stdin.Close()
		if err != nil {
			t.Errorf("the step's input is file %d: %v", fd, err)
			continue
		}
		if code, err := p.Wait(); code != 0 || err != nil {
			t.Errorf("the step's input is file %d: %d, %v", fd, code, err)
		}
	}
}

func TestProgramCannotBeWritten(t *testing.T) {
	p, err := program()
	must(t, err)
	if f, err := os.OpenFile(pathOf(int(p.Fd())), os.O_WRONLY, 0); err == nil {
		defer f.Close() // a sealed copy can be opened, not written
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			t.Error("the program can be written")
		}
	}
}
