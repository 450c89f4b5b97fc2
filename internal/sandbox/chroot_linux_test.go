package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newChroot is an image for steps without namespaces, which need real ids.
func newChroot(t *testing.T) *image {
	t.Helper()
	if owners() {
		t.Skip("SKIPPED: only one user id is mapped here")
	}
	return newImage(t)
}

// chrooted is a step without namespaces.
func chrooted(script string) Spec {
	return Spec{Chroot: true, Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}}
}

func TestChrootRunsTheCommand(t *testing.T) {
	im := newChroot(t)
	tests := []struct {
		name string
		spec Spec
		want string
	}{
		{"root", chrooted("pwd; ls /; id -u; umask"), "/\nbin\netc\nroot\ntmp\n0\n0022\n"},
		{"environment", chrooted("env | grep -e PATH -e HOME -e CANARY"), "HOME=/root\nPATH=/bin\n"},
		{"nothing is inherited", chrooted("for fd in 3 4 5 6 7 8 9; do ( : >&$fd ) 2>&- && echo $fd; done; true"), ""},
		{"chown", chrooted("touch /x && chown 5:6 /x && stat -c %u:%g /x"), "5:6\n"},
		{"no devices", chrooted("mknod /n c 1 3 2>&- || echo no"), "no\n"},
		{"no way out", chrooted("mkdir -p /a && busybox chroot /a true 2>&- || echo no"), "no\n"},
		{"limit of files", chrooted("ulimit -n"), "1024\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := im.run(tt.spec).ok(t); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestChrootUser(t *testing.T) {
	im := newChroot(t)
	s := chrooted("id -u; id -g; id -G; touch /root/x 2>&- || echo no; echo $HOME")
	s.User, s.Cwd = "app", "/tmp"
	if got, want := im.run(s).ok(t), "1000\n1000\n1000 10 2000\nno\n/home/app\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestChrootExitCodes(t *testing.T) {
	im := newChroot(t)
	if r := im.run(chrooted("exit 7")); r.code != 7 || r.err != nil {
		t.Errorf("%+v", r)
	}
	if r := im.run(chrooted("kill -9 $$")); r.code != 137 || r.err != nil {
		t.Errorf("%+v", r)
	}
	for command, code := range map[string]int{"no-such-command": 127, "/etc/passwd": 126} {
		s := chrooted("")
		s.Args = []string{command}
		var e *ExecError
		if r := im.run(s); r.code != code || !errors.As(r.err, &e) {
			t.Errorf("%s: %+v", command, r)
		}
	}
	s := chrooted("true")
	s.Cwd = "/no/such"
	if r := im.run(s); r.start == nil || !strings.Contains(r.start.Error(), "/no/such") {
		t.Errorf("%+v", r)
	}
}

func TestChrootRefuses(t *testing.T) {
	im := newChroot(t)
	for want, change := range map[string]func(*Spec){
		"network":    func(s *Spec) { s.Network = NetworkNone },
		"be mounted": func(s *Spec) { s.Mounts = []Mount{{Type: Tmpfs, Target: "/x"}} },
	} {
		s := chrooted("true")
		change(&s)
		if r := im.run(s); r.start == nil || !strings.Contains(r.start.Error(), want) {
			t.Errorf("%s: %+v", want, r)
		}
	}
}

// alive returns the processes that have a word in their command line.
func alive(t *testing.T, word string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	var found []string
	for _, p := range all {
		if line, _ := os.ReadFile(p); strings.Contains(string(line), word) {
			found = append(found, p+" "+string(line))
		}
	}
	return found
}

func TestChrootLeavesNoProcess(t *testing.T) {
	im := newChroot(t)
	// From there the shell lets what runs in the background read; without it, nothing would begin to run.
	must(t, os.Mkdir(filepath.Join(im.root, "dev"), 0o755))
	must(t, os.WriteFile(filepath.Join(im.root, "dev/null"), nil, 0o666))
	for name, script := range map[string]string{
		"in the background":     "sleep %[1]s & true",
		"in its own session":    "busybox setsid sleep %[1]s & busybox setsid sh -c 'busybox setsid sleep %[1]s & busybox setsid sleep %[1]s & wait' & sleep 0.2",
		"one that always forks": "busybox setsid sh -c 'trap \"\" TERM HUP INT; while :; do busybox setsid sh -c \"sleep %[1]s & sleep %[1]s\" & sleep 0.01; done' >&- 2>&- & sleep 0.5",
		"stopped":               "busybox setsid sleep %[1]s & kill -STOP $!; sleep 0.1",
	} {
		t.Run(name, func(t *testing.T) {
			word := fmt.Sprint(1000000 + time.Now().UnixNano()%1000000)
			im.run(chrooted(fmt.Sprintf(script, word))).ok(t)
			if left := alive(t, word); left != nil {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestChrootIsCancelled(t *testing.T) {
	im := newChroot(t)
	word := fmt.Sprint(1000000 + time.Now().UnixNano()%1000000)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	s := chrooted("trap '' TERM; sleep " + word + " & busybox setsid sleep " + word + " & echo ready; sleep " + word)
	s.Rootfs = im.root
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	p, err := Start(ctx, &s, Stdio{Stdout: w})
	w.Close()
	must(t, err)
	_, err = r.Read(make([]byte, 64))
	must(t, err)
	cancel(why)
	if code, err := p.Wait(); !errors.Is(err, why) {
		t.Errorf("%d, %v", code, err)
	}
	if left := alive(t, word); left != nil {
		t.Errorf("left: %q", left)
	}
}

func TestChrootSignals(t *testing.T) {
	im := newChroot(t)
	s := chrooted("trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.02; done")
	s.Rootfs = im.root
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	p, err := Start(context.Background(), &s, Stdio{Stdout: w, Stderr: w})
	w.Close()
	must(t, err)
	buf := make([]byte, 64)
	_, err = r.Read(buf)
	must(t, err)
	must(t, p.Signal(syscall.SIGTERM))
	n, err := r.Read(buf)
	must(t, err)
	if code, err := p.Wait(); code != 3 || err != nil || string(buf[:n]) != "got it\n" {
		t.Errorf("%d, %v, %q", code, err, buf[:n])
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestC1ProcWithoutMounts: /proc is answered for a step that has none.
func TestC1ProcWithoutMounts(t *testing.T) {
	im := newChroot(t)
	if err := os.MkdirAll(filepath.Join(im.root, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1"} {
		if err := os.Symlink(to, filepath.Join(im.root, "dev", name)); err != nil {
			t.Fatal(err)
		}
	}
	for script, want := range map[string]string{
		"readlink /proc/self/exe":                                   "/bin/busybox\n",
		"echo out >/dev/stdout":                                     "out\n",
		"echo in | cat /dev/stdin":                                  "in\n",
		"cat /dev/fd/4 4<<E\nhere\nE\n":                             "here\n",
		"cat /proc/self/comm":                                       "cat\n",
		"readlink /proc/self/cwd":                                   "/\n",
		"grep -c MemTotal: /proc/meminfo":                           "1\n",
		"test -d /proc/self/fd && test -e /dev/stdin && echo yes":   "yes\n",
		"test $(readlink /proc/self) -gt 1 && echo yes":             "yes\n",
		"cat /proc/1/environ /proc/1/root/etc/passwd 2>&-; echo $?": "1\n",
		"echo x 2>&- >/proc/sys/kernel/hostname || echo refused":    "refused\n",
		"(exec -a sh /proc/self/exe -c 'echo executed')":            "executed\n",
		"cd /proc/self && cat comm":                                 "cat\n",
		"ls -d /dev/fd/.":                                           "/dev/fd/.\n",
		"df -P / | tail -n 1 | grep -o '/$'":                        "/\n",
		"cd /proc && cat 1/environ 2>&-; echo $?":                   "1\n",
		"test -d /sys/kernel && echo yes":                           "yes\n",
		"ls /sys/firmware 2>&- || echo hidden":                      "hidden\n",
		"echo x 2>&- >/sys/kernel/uevent_helper || echo refused":    "refused\n",
		"ls /dev/pts/ptmx && : <>/dev/ptmx && echo yes":             "/dev/pts/ptmx\nyes\n",
	} {
		for _, user := range []string{"", "app"} {
			s := chrooted(script)
			s.User = user
			if got := im.run(s).ok(t); got != want {
				t.Errorf("as %q: %s: %q, want %q", user, script, got, want)
			}
		}
	}
}
