package sandbox

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExitCodes(t *testing.T) {
	im := newImage(t, func(l string) {
		must(t, os.WriteFile(l+"/bin/plain", []byte("no program"), 0o644))
		must(t, os.WriteFile(l+"/bin/odd", []byte("\x00\x01odd"), 0o755))
		must(t, os.WriteFile(l+"/bin/lost", []byte("#!/nowhere\n"), 0o755))
		must(t, os.Symlink("/proc/self/exe", l+"/bin/self"))
	})
	for _, c := range []struct {
		args []string
		code int
		text string // of the ExecError, if one is due
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, 137, ""},
		{[]string{"nosuch"}, 127, `exec: "nosuch": not found in PATH of the image`},
		{[]string{"/nosuch"}, 127, `exec: "/nosuch": not found in the image`},
		{[]string{"plain"}, 126, `exec: "plain": not executable: permission denied`},
		{[]string{"/etc"}, 126, `exec: "/etc": not executable: permission denied`},
		{[]string{"odd"}, 126, `exec: "/bin/odd": not a program for this processor, nor a script with a #! line`},
		{[]string{"lost"}, 127, `exec: "/bin/lost": the interpreter or loader it names is missing in the image`},
		{[]string{"/proc/self/exe"}, 126, `exec: "/proc/self/exe": a loop of links, or a link into a process`},
		{[]string{"self"}, 126, `exec: "/bin/self": a loop of links, or a link into a process`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			r := im.run(Spec{Args: c.args})
			text := ""
			var e *ExecError
			if errors.As(r.err, &e) {
				text = e.Text
			}
			if r.start != nil || r.code != c.code || text != c.text || c.text == "" && r.err != nil {
				t.Errorf("code %d, start %v, wait %v; want %d, %q\n%s", r.code, r.start, r.err, c.code, c.text, r.out)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	im := newImage(t)
	tmpfs := func(target string) Spec {
		return Spec{Args: []string{"true"}, Mounts: []Mount{{Type: Tmpfs, Target: target}}}
	}
	for want, s := range map[string]Spec{
		"no command to run":                  {},
		`unknown network "host "`:            {Args: []string{"true"}, Network: "host "},
		"a step cannot work in /proc":        {Args: []string{"true"}, Cwd: "/proc/self/fd/3"},
		`mount tmpfs at "/"`:                 tmpfs("/"),
		`mount tmpfs at "/proc"`:             tmpfs("/proc"),
		`mount tmpfs at "/etc/../dev/"`:      tmpfs("/etc/../dev/"),
		`mount tmpfs at "/sys/fs"`:           tmpfs("/sys/fs"),
		`mount tmpfs at "rel"`:               tmpfs("rel"),
		"open /nosuch to mount it at /x":     {Args: []string{"true"}, Mounts: []Mount{{Type: Bind, Source: "/nosuch", Target: "/x"}}},
		`user "ghost" is not in /etc/passwd`: {Args: []string{"true"}, User: "ghost"},
	} {
		r := im.run(s)
		if r.start == nil || !strings.Contains(r.start.Error(), want) {
			t.Errorf("got %v, want %q", r.start, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	im := newImage(t)
	for _, c := range []struct {
		env  []string
		user string
		want []string
	}{
		{nil, "", []string{"HOME=/root"}},
		{[]string{"A=1", "CANARY", "=x", "", "A_*", "B=1\nC=2"}, "", []string{"A=1", "B=1", "C=2", "HOME=/root"}},
		{[]string{"HOME=/h"}, "", []string{"HOME=/h"}},
		{nil, "app", []string{"HOME=/home/app"}},
		{nil, "7", []string{"HOME=/"}},
	} {
		if c.user != "" {
			needIDs(t)
		}
		out := im.run(Spec{Args: []string{"env"}, Env: c.env, User: c.user}).ok(t)
		if diff := cmp.Diff(c.want, strings.Fields(out)); diff != "" {
			t.Errorf("environment of %q: %s", c.env, diff)
		}
	}
	out := im.run(Spec{Args: []string{"cat", "/proc/1/environ"}}).ok(t)
	if out != "HOME=/root\x00" {
		t.Errorf("environment of process 1: %q", out)
	}
}

func TestWorkingDirectory(t *testing.T) {
	im := newImage(t, func(l string) {
		must(t, os.Symlink("/proc/self", l+"/toproc"))
		must(t, os.Symlink("/new/../new/./x", l+"/w"))
		must(t, os.Symlink("../../../../etc", l+"/up"))
	})
	for cwd, want := range map[string]string{"": "/", "/etc": "/etc", "a/b": "/a/b", "/w/deep": "/new/x/deep", "/up/new": "/etc/new"} {
		out := im.run(Spec{Args: []string{"pwd"}, Cwd: cwd}).ok(t)
		if strings.TrimSpace(out) != want {
			t.Errorf("working directory %q: got %q, want %q", cwd, out, want)
		}
	}
	for _, cwd := range []string{"/toproc", "/toproc/root", "/bin/sh"} {
		if r := im.run(Spec{Args: []string{"pwd"}, Cwd: cwd}); r.start == nil {
			t.Errorf("working directory %q was accepted: %s", cwd, r.out)
		}
	}
	needIDs(t)
	out := im.run(Spec{Args: []string{"stat", "-c", "%u:%g %a", "/made"}, Cwd: "/made", User: "app"}).ok(t)
	if out != "1000:1000 755\n" {
		t.Errorf("owner of a new working directory: %q", out)
	}
	if _, err := os.Stat(im.upper + "/made"); err != nil {
		t.Errorf("the working directory did not stay: %v", err)
	}
}

func TestOrphansDie(t *testing.T) {
	im := newImage(t)
	r := im.sh("sleep 1000 & (sleep 1000 &) ; echo started")
	if out := r.ok(t); out != "started\n" || r.duration > 5*time.Second {
		t.Errorf("got %q after %v", out, r.duration)
	}
}

func TestCancelKills(t *testing.T) {
	im := newImage(t)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		for range 1000 { // until it runs, however busy the machine is
			if _, err := os.Stat(im.root + "/tmp/set"); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel(reason)
	}()
	r := im.runCtx(ctx, Spec{Args: []string{"sh", "-c", "trap '' TERM INT; touch /tmp/set; sleep 1000 & wait"}})
	if r.code != 137 || !errors.Is(r.err, reason) {
		t.Errorf("code %d, wait %v", r.code, r.err)
	}
	if r := im.runCtx(ctx, Spec{Args: []string{"true"}}); !errors.Is(r.start, reason) {
		t.Errorf("started after the end: %v", r.start)
	}
}

func TestKillAndSignal(t *testing.T) {
	im := newImage(t)
	p, err := Start(context.Background(), &Spec{Rootfs: im.root, Args: []string{"sleep", "1000"}}, Stdio{})
	must(t, err)
	must(t, p.Kill())
	if code, err := p.Wait(); code != 137 || err != nil {
		t.Errorf("code %d, wait %v", code, err)
	}
	p, err = Start(context.Background(), &Spec{Rootfs: im.root, Args: []string{"sh", "-c", "trap 'exit 5' TERM; touch /tmp/set; while :; do sleep 0.01; done"}}, Stdio{})
	must(t, err)
	for range 500 {
		if _, err := os.Stat(im.root + "/tmp/set"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	must(t, p.Signal(syscall.SIGTERM))
	if code, err := p.Wait(); code != 5 || err != nil {
		t.Errorf("code %d, wait %v", code, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	for range 8 {
		im := newImage(t)
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 5 {
				im.sh("echo x > /tmp/x; exit 0").ok(t)
			}
		})
	}
}

// Everything of a step but its overlay.
func BenchmarkStart(b *testing.B) {
	root := b.TempDir()
	program, err := os.ReadFile(busybox)
	if err != nil {
		b.Skipf("SKIPPED: a static busybox is needed: %v", err)
	}
	if err := os.WriteFile(root+"/true", program, 0o755); err != nil {
		b.Fatal(err)
	}
	s := etc("/true")
	s.Rootfs = root
	for b.Loop() {
		p, err := Start(context.Background(), &s, Stdio{})
		if err != nil {
			b.Fatal(err)
		}
		if code, err := p.Wait(); code != 0 || err != nil {
			b.Fatal(code, err)
		}
	}
}
