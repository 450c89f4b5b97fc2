package builder

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

// sh is a command of busybox's shell on a file system that has nothing else.
func sh(script string) llb.RunOption {
	return llb.Args([]string{"/bin/busybox", "sh", "-ec", script})
}

func box() llb.State {
	return llb.Scratch().File(llb.Mkdir("/bin", 0o755)).
		File(llb.Copy(llb.Local("src"), "/busybox", "/bin/busybox", &llb.CopyInfo{Mode: &llb.ChmodOpt{Mode: 0o755}}))
}

// ran solves a state and returns its files, but for busybox itself.
func (p *project) ran(st llb.State, change func(*Options)) (map[string]string, error) {
	p.t.Helper()
	p.mu.Lock()
	p.events = nil
	p.mu.Unlock()
	got, _, err := p.solved(st, func(o *Options) {
		o.Contexts = map[string]string{"src": p.dir}
		if change != nil {
			change(o)
		}
	})
	delete(got, "bin/busybox")
	return got, err
}

// made are the files of an image that a step stands for, without its busybox.
func made(t *testing.T, img *Image) map[string]string {
	t.Helper()
	got := files(t, img)
	delete(got, "bin/busybox")
	return got
}

func (p *project) mustRun(st llb.State, want map[string]string) {
	p.t.Helper()
	got, err := p.ran(st, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Errorf("files %v, want %v", got, want)
	}
}

func TestOutputsOfMounts(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	had := llb.Scratch().File(llb.Mkdir("/d", 0o755)).File(llb.Mkfile("/d/old", 0o644, []byte("old"))).File(llb.Mkfile("/kept", 0o644, []byte("kept")))
	run := box().Run(sh("echo root >/r; echo new >/out/new; rm /part/old; echo part >/part/x; cat /ro/kept >/seen"))
	out := run.AddMount("/out", llb.Scratch())
	part := run.AddMount("/part", had, llb.SourcePath("/d"))
	readOnly := run.AddMount("/ro", had, llb.Readonly)
	p.mustRun(run.Root(), map[string]string{"r": "root\n", "seen": "kept"})
	for range 2 { // once more from the cache
		p.mustRun(out, map[string]string{"new": "new\n"})
		p.mustRun(part, map[string]string{"d/x": "part\n", "kept": "kept"})
		p.mustRun(readOnly, map[string]string{"d/old": "old", "kept": "kept"})
	}
	p.mustRun(llb.Merge([]llb.State{out, part}), map[string]string{"d/x": "part\n", "kept": "kept", "new": "new\n"})
	if did := p.did(); slices.ContainsFunc(did, func(s string) bool { return strings.Contains(s, "echo root") }) {
		t.Errorf("the command ran again: %v", did)
	}
}

func TestReadOnlyRootIsNoOutput(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	run := box().Run(sh("echo x 2>/dev/null >/x || echo refused >/out/x"), llb.ReadonlyRootFS())
	p.mustRun(run.AddMount("/out", llb.Scratch()), map[string]string{"x": "refused\n"})
}

func TestValidExitCodes(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	exits := func(code int, valid ...int) llb.State {
		return box().Run(sh(fmt.Sprintf("echo %d >/code; exit %d", code, code)), llb.ValidExitCodes(valid...)).Root()
	}
	p.mustRun(exits(3, 0, 3), map[string]string{"code": "3\n"})
	for code, valid := range map[int][]int{4: {0, 3}, 0: {3}, 1: {0}} {
		var ee *ExitError
		if _, err := p.ran(exits(code, valid...), nil); !errors.As(err, &ee) || ee.Code != code {
			t.Errorf("%d of %v: %v", code, valid, err)
		}
	}
}

func TestMountTargetIsBelowTheWorkingDirectory(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	run := box().Dir("/w").Run(sh("echo x >m/x"))
	p.mustRun(run.AddMount("m", llb.Scratch()), map[string]string{"x": "x\n"})
}

func TestInsecureNeedsPermission(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN echo first >/first\nRUN --security=insecure /bin/busybox mkdir /t && /bin/busybox mount -t tmpfs none /t && echo mounted >/out\n")
	wants := func(when string) {
		t.Helper()
		_, err := p.try(nil)
		var le *Error
		if !errors.As(err, &le) || le.Span.String() != "Dockerfile:5" || !strings.Contains(err.Error(), "--allow security.insecure") {
			t.Errorf("%s: %v", when, err)
		}
		if did := p.did(); len(did) != 0 {
			t.Errorf("%s: steps ran: %v", when, did)
		}
	}
	wants("never allowed")
	got := made(t, p.build(func(o *Options) { o.Allow = []string{AllowInsecure} }))
	if got["out"] != "mounted\n" {
		t.Errorf("files %v", got)
	}
	wants("in the cache")
	_, err := p.try(func(o *Options) { o.Allow = []string{"security.insecur"} })
	var oe *OptionError
	if !errors.As(err, &oe) || oe.Field != "allow" {
		t.Errorf("an unknown right: %v", err)
	}
}

func TestDevices(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN --device=vendor.example/gpu=all echo without >/out\n")
	if got := made(t, p.build(nil))["out"]; got != "without\n" {
		t.Errorf("optional: %q", got)
	}
	p.write("Dockerfile", onBusybox+"RUN --device=vendor.example/gpu=all,required true\n")
	_, err := p.try(nil)
	var le *Error
	if !errors.As(err, &le) || le.Span.String() != "Dockerfile:4" || !strings.Contains(err.Error(), `CDI device "vendor.example/gpu=all" is required`) {
		t.Errorf("required: %v", err)
	}
}

func TestLimitsOfSteps(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+`RUN ulimit -Sn >/n; ulimit -Hn >>/n; /bin/busybox df -k /dev/shm | /bin/busybox awk 'NR==2{print $2}' >/shm; /bin/busybox tail -n +3 /etc/hosts >/hosts
`)
	limits := func(o *Options) {
		o.Limits = Limits{Ulimits: []Ulimit{{Name: "nofile", Soft: 100, Hard: 200}}, ShmSize: 8 << 20}
		o.ExtraHosts = []ExtraHost{{"db", "10.1.2.3"}, {"six", "::2"}}
	}
	got := made(t, p.build(limits))
	if got["n"] != "100\n200\n" || got["shm"] != "8192\n" || got["hosts"] != "10.1.2.3\tdb\n::2\tsix\n" {
		t.Errorf("%q", got)
	}
}

// What BuildKit leaves out of its keys is out of ours: see ExecOp.CacheMap.
func TestWhatIsInTheKeyOfARun(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN --mount=type=secret,id=s --mount=type=ssh true\n")
	p.build(nil)
	ulimit := []Ulimit{{Name: "nofile", Soft: 100, Hard: 200}}
	for _, c := range []struct {
		name string
		set  func(*Options)
		anew bool
	}{
		{"nothing", func(*Options) {}, false},
		{"a host", func(o *Options) { o.ExtraHosts = []ExtraHost{{"db", "10.1.2.3"}} }, true},
		{"the host's address", func(o *Options) { o.ExtraHosts = []ExtraHost{{"db", "10.9.9.9"}} }, false},
		{"a ulimit", func(o *Options) { o.Limits.Ulimits = ulimit }, true},
		{"the ulimit again", func(o *Options) { o.Limits.Ulimits = ulimit }, false},
		{"shared memory", func(o *Options) { o.Limits.ShmSize = 1 << 20 }, true},
		{"a host name", func(o *Options) { o.Args = map[string]string{"BUILDKIT_SANDBOX_HOSTNAME": "h"} }, true},
		{"a proxy", func(o *Options) { o.Args = map[string]string{"HTTP_PROXY": "http://p"} }, false},
		{"a bound on processes", func(o *Options) { o.Limits.Pids = 1000 }, false},
		{"memory", func(o *Options) { o.Limits.Memory = 1 << 30 }, false},
		{"a secret", func(o *Options) {
			o.Secrets = []Secret{{ID: "s", Value: func() ([]byte, error) { return []byte("x"), nil }}}
		}, false},
	} {
		p.build(c.set)
		if did := p.did(); len(did) > 0 != c.anew {
			t.Errorf("%s: did %v", c.name, did)
		}
	}
}

func TestWhichCacheIsNotInTheKey(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	for i, id := range []string{"id=one,", "id=two,", "id=two,sharing=locked,", ""} {
		p.write("Dockerfile", onBusybox+"RUN --mount=type=cache,"+id+"target=/c true\n")
		p.build(nil)
		if did := p.did(); i > 0 && len(did) > 0 {
			t.Errorf("%q: did %v", id, did)
		}
	}
}

func TestMountOnAMount(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN --mount=type=tmpfs,target=/m /bin/busybox cat /m/deep/x >/out\n")
	p.write("x", "on top")
	got := made(t, p.build(func(o *Options) { o.Volumes = []Volume{{Source: p.dir + "/x", Target: "/m/deep/x"}} }))
	if got["out"] != "on top" {
		t.Errorf("%q", got)
	}
}

func TestMountedPartsDecide(t *testing.T) {
	p := newProject(t, map[string]string{"wanted/a": "1", "other": "1"})
	p.needRun()
	p.write("Dockerfile", onBusybox+`FROM box AS made
COPY wanted other /made/
FROM box
RUN --mount=source=wanted,target=/w /bin/busybox cat /w/a >/a
RUN --mount=from=made,source=/made/a,target=/m /bin/busybox cat /m >/b
`)
	ran := func() []string {
		t.Helper()
		p.build(nil)
		return slices.DeleteFunc(p.did(), func(s string) bool { return !strings.HasPrefix(s, "RUN") })
	}
	ran()
	p.write("other", "2")
	if did := ran(); len(did) != 0 {
		t.Errorf("another file changed: %v", did)
	}
	p.write("wanted/a", "2")
	if did := ran(); len(did) != 2 {
		t.Errorf("the mounted file changed: %v", did)
	}
	if err := os.Chmod(p.dir+"/wanted/a", 0o600); err != nil {
		t.Fatal(err)
	}
	if did := ran(); len(did) != 2 {
		t.Errorf("its mode changed: %v", did)
	}
}

func TestCachesWithOtherBeginningsAreOthers(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+`FROM box AS one
RUN echo one >/seed
FROM box AS two
RUN echo two >/seed
FROM box
RUN --mount=type=cache,id=c,target=/c echo plain >/c/seed
RUN --mount=type=cache,id=c,target=/c,from=one /bin/busybox cat /c/seed >/a; echo more >/c/more
RUN --mount=type=cache,id=c,target=/c,from=two /bin/busybox cat /c/seed >/b; /bin/busybox ls /c/more 2>/dev/null >>/b; true
RUN --mount=type=cache,id=c,target=/c,mode=0700 /bin/busybox ls /c >/e; /bin/busybox stat -c '%a %u' /c >>/e; echo x >/c/owned
RUN --mount=type=cache,id=c,target=/c,mode=0750 /bin/busybox ls /c >/f
RUN --mount=type=cache,id=c,target=/c,from=one /bin/busybox cat /c/more >/d
`)
	got := made(t, p.build(nil))
	want := map[string]string{"a": "one\n", "b": "two\n", "d": "more\n", "e": "700 0\n", "f": ""}
	for name, data := range want {
		if got[name] != data {
			t.Errorf("%s: %q, want %q", name, got[name], data)
		}
	}
}

func TestOOMIsNamed(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN x=0123456789abcdef; while true; do x=$x$x; done\n")
	_, err := p.try(func(o *Options) { o.Limits.Memory = 32 << 20 })
	if err != nil && strings.Contains(err.Error(), "control groups: ") {
		var le *Error
		if !errors.As(err, &le) || !strings.Contains(err.Error(), "memory") {
			t.Errorf("a limit that cannot be had: %v", err)
		}
		t.Skipf("SKIPPED: no control groups here: %v", err)
	}
	var ee *ExitError
	if !errors.As(err, &ee) || ee.Code != 137 || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("%v", err)
	}
}

func TestRunOptionsThatCannotBeMeant(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"ulimit: ":                  func(o *Options) { o.Limits.Ulimits = []Ulimit{{Name: "files", Soft: 1, Hard: 1}} },
		"shm-size: -1":              func(o *Options) { o.Limits.ShmSize = -1 },
		"limits: memory limit 10":   func(o *Options) { o.Limits.Memory = 10 },
		"limits: limit of 3 proc":   func(o *Options) { o.Limits.Pids = 3 },
		"slices of systemd are not": func(o *Options) { o.Limits.CgroupParent = "user.slice:" },
		"it must not climb":         func(o *Options) { o.Limits.CgroupParent = "../x" },
		`"x" is not an IP address`:  func(o *Options) { o.ExtraHosts = []ExtraHost{{"h", "x"}} },
		"host-gateway: steps have":  func(o *Options) { o.ExtraHosts = []ExtraHost{{"h", "host-gateway"}} },
		"is not the name of a host": func(o *Options) { o.ExtraHosts = []ExtraHost{{"a b", "1.2.3.4"}} },
	} {
		_, err := newProject(t, map[string]string{"Dockerfile": "FROM scratch\n"}).try(change)
		var oe *OptionError
		if !errors.As(err, &oe) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestLimitsOfAGraph(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	st := box().Run(sh("ulimit -n >/n"), llb.AddUlimit(llb.UlimitNofile, 64, 64), llb.Security(pb.SecurityMode_SANDBOX)).Root()
	p.mustRun(st, map[string]string{"n": "64\n"})
	_, err := p.ran(box().Run(sh("true"), llb.WithLinuxResources(llb.LinuxResources{Memory: 1})).Root(), nil)
	if err == nil || !strings.Contains(err.Error(), "memory limit 1") {
		t.Errorf("%v", err)
	}
	_, err = p.ran(box().Run(sh("true"), llb.Security(pb.SecurityMode_INSECURE)).Root(), nil)
	if err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("%v", err)
	}
}

// As with BuildKit, --no-cache means the cache mounts of the steps, too.
func TestNoCacheRenewsCacheMounts(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+`RUN --mount=type=cache,target=/c echo x >>/c/f; /bin/busybox wc -l </c/f >/one
RUN --mount=type=cache,target=/c echo x >>/c/f; /bin/busybox wc -l </c/f >/two
`)
	for i, change := range []func(*Options){nil, func(o *Options) { o.NoCache = true }} {
		if got := made(t, p.build(change)); got["one"] != "1\n" || got["two"] != "2\n" {
			t.Errorf("build %d: %q", i, got)
		}
	}
}
