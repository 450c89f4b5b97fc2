package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
)

// through calls f with each runtime that is installed.
func through(t *testing.T, f func(*testing.T, *bundle.Runtime)) {
	for _, name := range []string{"runc", "crun", "runsc"} {
		t.Run(name, func(t *testing.T) {
			if owners() {
				t.Skip("SKIPPED: a runtime needs more ids than one")
			}
			path, err := bundle.Find(name, os.Getenv("PATH"))
			if err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
			r, err := bundle.Identify(context.Background(), path)
			must(t, err)
			if r.Name != name {
				t.Errorf("%s calls itself %q", path, r.Name)
			}
			f(t, r)
		})
	}
}

// by makes r, if there is one, run the step.
func (s Spec) by(t *testing.T, r *bundle.Runtime) Spec {
	if r != nil {
		s.Runtime, s.RuntimeDir = r, t.TempDir()
	}
	return s
}

// shell runs a script whose outputs are one: a runtime may pass them on apart.
func shell(script string) []string { return []string{"sh", "-c", "exec 2>&1; " + script} }

// equalSteps are to come out alike, whoever runs them.
var equalSteps = []struct {
	name string
	spec Spec
	ids  bool // becomes another user
}{
	{"root", Spec{Args: shell("id; echo $HOME; pwd; echo $0; umask")}, false},
	{"user with groups", Spec{Args: shell("id; echo $HOME; grep Groups /proc/self/status"), User: "app"}, true},
	{"user and group by number", Spec{Args: shell("id; echo $HOME; grep Groups /proc/self/status"), User: "1234:2000"}, true},
	{"user with a home of its own", Spec{Args: shell("echo $HOME"), Env: []string{"PATH=/bin", "HOME=/else"}, User: "app"}, true},
	{"environment", Spec{Args: []string{"env"}, Env: []string{"PATH=/bin", "A=b c", "BAD", "=x", "E="}}, false},
	{"working directory is made", Spec{Args: shell("pwd; ls -ldn . | head -c 30"), Cwd: "/a/b", User: "app"}, true},
	{"working directory is a link", Spec{Args: shell("pwd; echo x >f"), Cwd: "/link/deep"}, false},
	{"working directory leads to /proc", Spec{Args: shell("pwd"), Cwd: "/toproc/fd"}, false},
	{"working directory is a file", Spec{Args: shell("pwd"), Cwd: "/etc/passwd"}, false},
	{"exit code", Spec{Args: shell("exit 77")}, false},
	{"exit code one", Spec{Args: shell("echo said >&2; exit 1")}, false},
	{"killed by itself", Spec{Args: shell("sh -c 'kill -KILL $$'; echo $?; (sh -c 'kill -SEGV $$'); exit $?")}, false},
	{"not found", Spec{Args: []string{"nothing"}}, false},
	{"no such path", Spec{Args: []string{"/no/thing"}}, false},
	{"a directory", Spec{Args: []string{"/etc"}}, false},
	{"no right to execute", Spec{Args: []string{"/etc/passwd"}}, false},
	{"a private directory", Spec{Args: []string{"/root/tool"}, User: "app"}, true},
	{"a private program", Spec{Args: []string{"/opt/private"}, User: "app"}, true},
	{"no program", Spec{Args: []string{"/opt/garbage"}}, false},
	{"no interpreter", Spec{Args: []string{"/opt/orphan"}}, false},
	{"no loader", Spec{Args: []string{"/opt/unloaded"}}, false},
	{"for another processor", Spec{Args: []string{"/opt/foreign"}}, false},
	{"script by a relative path", Spec{Args: []string{"./script", "x"}, Cwd: "/opt"}, false},
	{"without PATH", Spec{Args: []string{"echo", "found"}, Env: []string{"A=b"}}, false},
	{"network none", Spec{Args: shell("ls /sys/class/net; ip addr show lo | grep -c UP; cat /proc/net/dev | grep -c :"), Network: NetworkNone}, false},
	{"network host", Spec{Args: shell("cat /proc/net/dev | grep -c :; ls /sys/class/net"), Network: NetworkHost}, false},
	{"host name", Spec{Args: []string{"cat", "/proc/sys/kernel/hostname"}}, false},
	{"another host name", Spec{Args: []string{"cat", "/proc/sys/kernel/hostname"}, Hostname: "other.name"}, false},
	{"resolv.conf and hosts", Spec{Args: shell("cat /etc/resolv.conf /etc/hosts; echo x >/etc/hosts"), ResolvConf: []byte("nameserver 1.2.3.4\n"), Hosts: HostsFile("")}, false},
	{"bind and tmpfs and file", Spec{Args: shell("cat /in/f; echo x >/in/g; touch /t/x && stat -c '%a %u' /t; cat /run/s; stat -c '%a %u %g' /run/s; echo y >/run/s"),
		Mounts: []Mount{{Type: Bind, Source: "SOURCE", Target: "/in", ReadOnly: true}, {Type: Tmpfs, Target: "/t", Size: 1 << 20}, {Type: File, Target: "/run/s", Data: []byte("secret\n"), ReadOnly: true}}}, false},
	{"owners of mounts", Spec{Args: shell("stat -c '%a %u %g' /t /s; cat /s"), User: "app",
		Mounts: []Mount{{Type: Tmpfs, Target: "/t", UID: 1000, GID: 1000, Mode: 0o700}, {Type: File, Target: "/s", Data: []byte("mine\n"), UID: 1000, Mode: 0o400}}}, true},
	{"mount through a link", Spec{Args: shell("ls /etc/target; ls -A /linked"), Mounts: []Mount{{Type: Bind, Source: "SOURCE", Target: "/link/new"}}}, false},
	{"mount in a mount", Spec{Args: shell("ls /t; ls /t/in"), Mounts: []Mount{{Type: Tmpfs, Target: "/t"}, {Type: Bind, Source: "SOURCE", Target: "/t/in"}}}, false},
	{"mount leads to /proc", Spec{Args: shell("ls"), Mounts: []Mount{{Type: Tmpfs, Target: "/toproc"}}}, false},
	{"shared memory", Spec{Args: shell("grep ' /dev/shm ' /proc/mounts | tail -1"), Mounts: []Mount{{Type: Tmpfs, Target: "/dev/shm", Size: 3 << 20}}}, false},
	{"devices", Spec{Args: shell("ls /dev; ls -l /dev/fd /dev/ptmx | grep -o '/dev/.*'; echo x >/dev/null; head -c 3 /dev/zero; ls /dev/pts"), Network: NetworkNone}, false},
	{"device files do not work", Spec{Args: shell("mknod /tmp/null c 1 3 2>/dev/null; echo x >/tmp/null; test -f /tmp/null")}, false},
	{"standard output by name", Spec{Args: shell("echo out >/dev/stdout; cd /; sleep 0.1; echo err >/dev/stderr"), User: "app"}, true},
	{"standard input", Spec{Args: []string{"cat"}}, false},
	{"limits of processes", Spec{Args: shell("ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc")}, false},
	{"own limits", Spec{Args: shell("ulimit -n; ulimit -Hn; ulimit -s; ulimit -f"), Ulimits: []Ulimit{{"nofile", 99, 100}, {"core", 0, 0}, {"stack", 1 << 20, 1 << 20}, {"fsize", -1, -1}}}, false},
	{"out-of-memory score", Spec{Args: []string{"cat", "/proc/self/oom_score_adj"}}, false},
	{"capabilities of root", Spec{Args: shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")}, false},
	{"capabilities of a user", Spec{Args: shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"), User: "app"}, true},
	{"capabilities of an insecure user", Spec{Args: shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; ls /dev"), User: "app", Insecure: true}, true},
	{"insecure", Spec{Args: shell("mkdir /tmp/m; mount -t tmpfs x /tmp/m && echo mounted; ls /proc/acpi >/dev/null 2>&1; grep ' /sys ' /proc/mounts | head -1 | grep -o 'r[ow],'"), Insecure: true}, false},
	{"calls that are filtered", Spec{Args: shell("unshare -U true; mount -t tmpfs x /tmp; echo $?")}, false},
	{"hidden paths", Spec{Args: shell("cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 10; ls /proc/scsi /proc/acpi /sys/firmware 2>/dev/null; echo done")}, false},
	{"frozen paths", Spec{Args: shell("echo x >/proc/sys/kernel/hostname; echo x >/proc/sysrq-trigger; mkdir /sys/x; grep -E ' /(proc|sys)(/(sys|bus|irq|fs|sysrq-trigger))? ' /proc/mounts | cut -d' ' -f2,4 | cut -d, -f1 | sort -u")}, false},
	{"control groups", Spec{Args: shell("ls /sys/fs/cgroup; cut -d: -f3 /proc/self/cgroup | sort -u")}, false},
	{"read-only root", Spec{Args: shell("echo x >/file; echo y >/t/file && cat /t/file; echo z >/dev/shm/f && echo ok"), ReadOnlyRoot: true, Mounts: []Mount{{Type: Tmpfs, Target: "/t"}}}, false},
	{"first of its processes", Spec{Args: shell("echo $$ /proc/[0-9]*")}, false},
	{"open files", Spec{Args: shell("ls /proc/self/fd")}, false},
	{"files that are left", Spec{Args: shell("mkdir -p /x/y; echo a >/x/y/a; chmod 4711 /x/y/a; rm /etc/group; ln -s a /x/l; touch /bin")}, false},
	{"processes that are left", Spec{Args: shell("sleep 1000 & sleep 1000 & echo started")}, false},
	{"no /proc in the image's root", Spec{Args: shell("rm -rf /proc /sys /dev 2>/dev/null; ls -d /proc /sys /dev")}, false},
}

// skipOwnKernel skips a test that asks what only this machine's kernel tells.
func skipOwnKernel(t *testing.T, r *bundle.Runtime) {
	t.Helper()
	if r != nil && r.OwnsStdio() {
		t.Skip("SKIPPED: in gVisor the step has a kernel of its own, and its mounts are not those of this machine")
	}
}

// ownKernel are steps that ask for what gVisor, a kernel of its own, has in another way
// or not at all; they are to run.
var ownKernel = []string{
	"user with groups", "user and group by number", "environment", "shared memory", "device files do not work", "out-of-memory score",
	"capabilities of root", "capabilities of a user", "capabilities of an insecure user", "insecure", "calls that are filtered",
	"hidden paths", "frozen paths", "control groups", "read-only root",
}

func forRuntimes(lower string) {
	for _, d := range []string{"opt", "linked/deep"} {
		_ = os.MkdirAll(filepath.Join(lower, d), 0o755)
	}
	_ = os.Chmod(filepath.Join(lower, "root"), 0o700)
	_ = os.Symlink("/linked", filepath.Join(lower, "link"))
	_ = os.Symlink("/proc/self", filepath.Join(lower, "toproc"))
	// An ELF file of 64 bits with one segment, PT_INTERP, and a path behind it.
	elf := []byte("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00>\x00\x01\x00\x00\x00")
	elf = append(elf, make([]byte, 200)...)
	elf[32], elf[54], elf[56] = 64, 56, 1
	elf[64], elf[64+8], elf[64+32] = 3, 128, 16
	copy(elf[128:], "/no/such/loader")
	for name, f := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"root/tool": {"#!/bin/sh\n", 0o755}, "opt/foreign": {string(binfmt.Program("riscv64")), 0o755}, "opt/private": {"#!/bin/sh\n", 0o700}, "opt/garbage": {"no program\n", 0o755},
		"opt/orphan": {"#!/no/such/shell\n", 0o755}, "opt/script": {"#!/bin/sh\necho $1\n", 0o755}, "opt/unloaded": {string(elf), 0o755},
	} {
		_ = os.WriteFile(filepath.Join(lower, name), []byte(f.content), f.mode)
	}
}

// said is what came out of a step, without what only one of its ways can say.
type said struct {
	Code        int
	Out, Reason string
	Failed      bool // the step as such, and not its command
	Left        []string
}

func stepOf(t *testing.T, s Spec, r *bundle.Runtime) said {
	im := newImage(t, forRuntimes)
	source := t.TempDir()
	must(t, os.WriteFile(filepath.Join(source, "f"), []byte("of the host\n"), 0o644))
	s.Mounts = append([]Mount(nil), s.Mounts...)
	for i := range s.Mounts {
		if s.Mounts[i].Source == "SOURCE" {
			s.Mounts[i].Source = source
		}
	}
	res := im.run(s.by(t, r))
	var notRun *ExecError
	out := said{Code: res.code, Out: res.out, Failed: res.start != nil, Left: im.details()}
	if errors.As(res.err, &notRun) {
		out.Reason = notRun.Text
	} else if res.err != nil {
		out.Failed = true
	}
	if out.Failed { // each in its own words
		t.Logf("%v %v", res.start, res.err)
		out.Out, out.Code = "", -1
	}
	return out
}

// details says more of what the step has left.
func (im *image) details() []string {
	names := im.changed()
	for i, name := range names {
		var st unix.Stat_t
		must(im.t, unix.Lstat(im.upper+name, &st))
		uid, gid := ownerOf(im.t, im.upper+name)
		names[i] = fmt.Sprintf("%s %o %d:%d %d", name, st.Mode, uid, gid, st.Rdev)
	}
	return names
}

func TestRuntimesDoAsTheSandbox(t *testing.T) {
	ours := map[string]said{}
	through(t, func(t *testing.T, r *bundle.Runtime) {
		for _, step := range equalSteps {
			t.Run(step.name, func(t *testing.T) {
				if step.ids {
					needIDs(t)
				}
				want, known := ours[step.name]
				if !known {
					want = stepOf(t, step.spec, nil)
					ours[step.name] = want
				}
				got := stepOf(t, step.spec, r)
				if r.OwnsStdio() && slices.Contains(ownKernel, step.name) {
					if got.Failed && !step.spec.Insecure {
						t.Error("it fails")
					}
					return
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("sandbox -, %s +:\n%s", r.Name, diff)
				}
			})
		}
	})
}

// start starts a step of which the test hears.
func (im *image) start(ctx context.Context, s Spec) (*Process, *bufio.Reader) {
	im.t.Helper()
	s.Rootfs = im.root
	r, w, err := os.Pipe()
	must(im.t, err)
	im.t.Cleanup(func() { r.Close() })
	p, err := Start(ctx, &s, Stdio{Stdout: w, Stderr: w})
	w.Close()
	must(im.t, err)
	return p, bufio.NewReader(r)
}

func TestRuntimePassesSignalsOn(t *testing.T) {
	through(t, func(t *testing.T, r *bundle.Runtime) {
		if r.OwnsStdio() {
			t.Skip("SKIPPED: runsc ends the step at the first signal")
		}
		im := newImage(t)
		script := "trap 'echo got TERM; exit 5' TERM; trap 'echo got INT' INT; echo ready; while true; do sleep 0.05; done"
		p, out := im.start(context.Background(), Spec{Args: shell(script)}.by(t, r))
		for _, next := range []struct {
			line string
			sig  os.Signal
		}{{"ready\n", syscall.SIGINT}, {"got INT\n", syscall.SIGTERM}, {"got TERM\n", nil}} {
			line, err := out.ReadString('\n')
			if err != nil || line != next.line {
				t.Fatalf("heard %q, %v, want %q", line, err, next.line)
			}
			if next.sig != nil {
				must(t, p.Signal(next.sig))
			}
		}
		if code, err := p.Wait(); code != 5 || err != nil {
			t.Errorf("code %d, %v", code, err)
		}
	})
}

// Every process of a step is gone when Wait returns, also those that hide from
// the runtime, and nothing else is left.
func TestRuntimeLeavesNothing(t *testing.T) {
	through(t, func(t *testing.T, r *bundle.Runtime) {
		for _, end := range []string{"by itself", "killed", "cancelled"} {
			t.Run(end, func(t *testing.T) {
				im := newImage(t)
				mounts, err := os.ReadFile("/proc/self/mountinfo")
				must(t, err)
				groups := allGroups(t)
				ctx, cancel := context.WithCancelCause(context.Background())
				why := errors.New("enough")
				defer cancel(nil)
				// A name to look for that no other step has.
				mark := fmt.Sprintf("%d.%s", 100000+os.Getpid(), strings.Repeat("1", len(end)))
				script := "sleep " + mark + " & (trap '' TERM HUP; sleep " + mark + ") & echo ready; "
				if end != "by itself" {
					script += "wait; wait"
				}
				spec := Spec{Args: shell(script), Mounts: []Mount{{Type: Tmpfs, Target: "/new/t"}}}.by(t, r)
				p, out := im.start(ctx, spec)
				if line, _ := out.ReadString('\n'); line != "ready\n" {
					rest, _ := io.ReadAll(out)
					t.Fatalf("heard %q", line+string(rest))
				}
				switch end {
				case "killed":
					must(t, p.Kill())
				case "cancelled":
					cancel(why)
				}
				code, err := p.Wait()
				switch {
				case end == "by itself" && (code != 0 || err != nil),
					end == "killed" && (code != 137 || err != nil),
					end == "cancelled" && !errors.Is(err, why):
					t.Errorf("code %d, %v", code, err)
				}
				if left := running(mark); len(left) > 0 {
					t.Errorf("processes are left: %v", left)
				}
				after, err := os.ReadFile("/proc/self/mountinfo")
				must(t, err)
				if diff := cmp.Diff(string(mounts), string(after)); diff != "" {
					t.Errorf("mounts:\n%s", diff)
				}
				if diff := cmp.Diff(groups, allGroups(t)); diff != "" {
					t.Errorf("control groups:\n%s", diff)
				}
				if changed := im.changed(); len(changed) > 0 {
					t.Errorf("mount points are left: %v", changed)
				}
			})
		}
	})
}

// running are the processes that have a word in their command line.
func running(word string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		data, _ := os.ReadFile(name) // it may have ended
		if strings.Contains(string(data), "\x00"+word+"\x00") {
			found = append(found, name)
		}
	}
	return found
}

// allGroups are the control groups that a step of this process may have left.
func allGroups(t *testing.T) []string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (strings.Contains(d.Name(), fmt.Sprintf("ocibuild-%d-", os.Getpid())) || d.Name() == "ocibuild") {
			found = append(found, path)
		}
		return nil
	}))
	return found
}

func TestRuntimeKeepsToLimits(t *testing.T) {
	through(t, func(t *testing.T, r *bundle.Runtime) {
		limits := cgroup.Limits{Pids: 40}
		needGroups(t, limits)
		im := newImage(t)
		script := "for i in $(busybox seq 100); do sleep 3 & done; wait"
		s := Spec{Args: shell(script), Limits: limits}.by(t, r)
		p, out := im.start(context.Background(), s)
		_, err := io.ReadAll(out)
		must(t, err)
		_, err = p.Wait()
		must(t, err)
		if !strings.Contains(p.Exceeded(), "too many processes") {
			t.Errorf("exceeded %q", p.Exceeded())
		}
	})
}

// What the runtime itself says is an error of the step, and not its exit code.
func TestRuntimeFails(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"complains": `while [ "$1" != --log ]; do shift; done; mkdir "${2%/*}/state"; echo '{"level":"error","msg":"not today"}' >"$2"; exit 3`,
		"is none":   `exit 0`,
	} {
		t.Run(name, func(t *testing.T) {
			if owners() {
				t.Skip("SKIPPED: a runtime needs more ids than one")
			}
			im := newImage(t)
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
			res := im.run(Spec{Args: []string{"true"}}.by(t, &bundle.Runtime{Path: path, Name: runcName}))
			want := map[string]string{"complains": path + ": not today", "is none": path + ": it has kept no state"}[name]
			if res.start != nil || res.err == nil || !strings.Contains(res.err.Error(), want) {
				t.Errorf("%+v, want %q", res, want)
			}
		})
	}
}

// runcName makes a runtime be spoken to as runc is.
const runcName = "runc"

func TestRuntimeRefusals(t *testing.T) {
	im := newImage(t)
	for _, s := range []Spec{{Owners: true}, {Interactive: true}, {Emulators: []binfmt.Emulator{{}}}} {
		s.Rootfs, s.Args, s.Runtime = im.root, []string{"true"}, &bundle.Runtime{Path: "/usr/bin/any"}
		_, err := Start(context.Background(), &s, Stdio{})
		if err == nil || !strings.Contains(err.Error(), "runtime /usr/bin/any: ") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
