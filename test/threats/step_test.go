//go:build linux

package threats

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/worker"
	"github.com/ocibuild/ocibuild/layer"
)

// run runs a script on an image, and wants it to succeed.
func (p *place) run(base, script string, change ...func(*builder.Options)) *result {
	p.t.Helper()
	needsRun(p.t)
	return p.accepted("FROM "+base+"\nRUN <<'END'\nset -eu\n"+p.fake(script)+"\nEND\n", change...)
}

// armed is an image with the program that does what a shell cannot.
func (p *place) armed(layers ...[]byte) string {
	p.t.Helper()
	needsRun(p.t)
	data, err := os.ReadFile(program(p.t, "github.com/ocibuild/ocibuild/test/threats/attack"))
	must(p.t, err)
	return p.hub.base(append([][]byte{tarOf(p.t, executable("bin/attack", data))}, layers...)...)
}

func TestA03StubsThatWereMoved(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	inside := p.host.dir
	// The place that was made for the mount is moved away, and a link to the host stands there.
	got := p.accepted("FROM " + base + "\nRUN --mount=type=tmpfs,target=/a/victim-empty --mount=type=tmpfs,target=/a/dir mv /a /b && ln -s " + inside + " /a\n")
	if e := got.entry("a"); e.Type != layer.Symlink {
		t.Errorf("/a is %+v", e)
	}
	got = p.accepted("FROM "+base+"\nRUN --mount=type=secret,id=s,target=/c/victim-empty,required=true mv /c /d && mkdir -p /c && ln -s "+inside+"/victim-empty /c/victim-empty\n", func(o *builder.Options) {
		o.Secrets = []builder.Secret{{ID: "s", Value: func() ([]byte, error) { return []byte("x"), nil }}}
	})
	if e := got.entry("c/victim-empty"); e.Type != layer.Symlink {
		t.Errorf("/c/victim-empty is %+v", e)
	}
	p.accepted("FROM " + base + "\nRUN --mount=type=tmpfs,target=/e/f mv /e /g && mkdir -p /e/f && touch /e/f/mine\n").entry("e/f/mine")
}

func TestA04RightsThatWereNotGiven(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	for _, flag := range []string{"--security=insecure", "--security=INSECURE", "--security=foo", "--network=foo", "--device=/dev/sda,required", "--device=vendor.com/x=y,required", "--privileged", "--cap-add=ALL"} {
		p.part(flag, func() {
			p.refused("FROM " + base + "\nRUN " + flag + " touch /ran; id\n")
			if strings.Contains(p.printed(), "uid=") {
				p.t.Error("it ran")
			}
			evil := p.hub.baseWith(withConfig(map[string]any{"OnBuild": []string{"RUN " + flag + " id"}}))
			p.refused("FROM " + evil + "\nRUN id\n")
		})
	}
	// A device that nobody requires is not there, as with BuildKit.
	p.accepted("FROM " + base + "\nRUN --device=/dev/sda test ! -e /dev/sda\n")
}

func TestA09HugeUserFiles(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	for name, e := range map[string]entry{
		"group": file("etc/group", strings.Repeat("g:x:1:\n", 2<<20)), "passwd": file("etc/passwd", strings.Repeat("u:x:1:1::/:\n", 1<<20)), "one line": file("etc/passwd", "app:"+strings.Repeat("x", 11<<20)),
	} {
		base := p.hub.base(tarOf(t, e))
		p.part(name, func() {
			p.write("f", "")
			if name != "group" {
				p.refused("FROM " + base + "\nCOPY --chown=app f /f\n")
			}
			p.refused("FROM "+base+"\nUSER app\nRUN true\n", "10 MiB")
		})
	}
}

func TestA10UserFilesThatAreNone(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("f", "")
	for name, e := range map[string]entry{
		"pipe": fifo("etc/passwd"), "kernel memory": symlink("etc/passwd", "/proc/kcore"), "zeros": symlink("etc/passwd", "/dev/zero"), "the host's pipe": symlink("etc/passwd", p.host.dir+"/fifo"),
		"directory": dir("etc/passwd"), "device": device('3', "etc/passwd", 1, 5), "loop": symlink("etc/passwd", "passwd"), "the builder's": symlink("etc/passwd", "/proc/self/environ"),
	} {
		base := p.hub.base(tarOf(t, e))
		p.part(name, func() {
			p.refused("FROM " + base + "\nCOPY --chown=app f /f\n")
			p.refused("FROM " + base + "\nUSER app\nRUN true\n")
		})
	}
}

func TestA15ProgramsOfTheImageAreNotRun(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	trojan := []byte("#!/bin/sh\ntouch /trojan-ran\n")
	var entries []entry
	for _, name := range []string{"unpigz", "pigz", "xz", "tar", "git", "gpg", "zstd", "mount", "getent", "newuidmap", "runc", "crun", "ocibuild", "ldconfig"} {
		for _, dir := range []string{"usr/bin/", "trojans/"} {
			entries = append(entries, executable(dir+name, trojan))
		}
	}
	entries = append(entries, executable("lib/libnss_files.so.2", trojan), executable("lib64/libnss_files.so.2", trojan), file("etc/nsswitch.conf", "passwd: evil\n"), file("etc/ld.so.preload", "/trojans/x.so\n"))
	base := p.hub.baseWith(withConfig(map[string]any{"Env": []string{"PATH=/trojans:/bin", "LD_PRELOAD=/trojans/x.so"}}), tarOf(t, entries...))
	data := tarOf(t, file("f", "f"))
	p.archive("a.tar.xz", xzOf(t, data))
	p.archive("a.tar.gz", gzipped(t, data))
	p.write("g", "")
	got := p.accepted("FROM " + base + "\nADD a.tar.xz /x/\nADD a.tar.gz /y/\nCOPY --chown=app:grp g /g\nUSER app\nRUN /bin/true\n")
	got.lacks("trojan-ran")
	if e := got.entry("g"); e.UID != 1000 || e.GID != 2000 {
		t.Errorf("g is %+v", e)
	}
}

func TestA18StoresOfOthers(t *testing.T) {
	p := newPlace(t)
	p.write("f", "")
	p.write("Dockerfile", "FROM scratch\nCOPY f /f\n")
	old := unix.Umask(0)
	p.accepted("FROM scratch\nCOPY f /f\n")
	unix.Umask(old)
	for _, dir := range []string{"", "blobs", "trees", "mounts", "tmp", "keys", "locks"} {
		if fi, err := os.Stat(filepath.Join(p.store, dir)); err != nil || fi.Mode()&0o077 != 0 {
			t.Errorf("others may enter %s of the store: %v, %v", dir, fi.Mode(), err)
		}
	}
	for _, mode := range []os.FileMode{0o777, 0o770, 0o702, 0o1777} {
		must(t, os.Chmod(p.store, mode))
		_, err := p.try("FROM scratch\nCOPY f /f\n")
		must(t, os.Chmod(p.store, 0o700))
		p.part(mode.String(), func() { p.refusal(err, p.store, "others may write to it") })
	}
	empty := filepath.Join(p.dir, "out", "empty")
	must(t, os.MkdirAll(empty, 0o777))
	must(t, os.Chmod(empty, 0o777))
	p.accepted("FROM scratch\nCOPY f /f\n", func(o *builder.Options) { o.Store = empty })
	if fi, err := os.Stat(empty); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("an empty folder becomes a store of mode %v: %v", fi.Mode(), err)
	}
	if os.Getuid() != 0 {
		return // cannot give it away
	}
	must(t, os.Chown(p.store, 1000, 1000))
	o := p.call("build", "-q", ".")
	must(t, os.Chown(p.store, 0, 0))
	p.fails(o, 1, p.store, "belongs to user 1000")
}

func TestX35StoresThatSomebodyElseMade(t *testing.T) {
	p := newPlace(t)
	p.write("f", "")
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can give files away")
	}
	squat := filepath.Join(p.dir, "out", "squatted")
	must(t, os.MkdirAll(filepath.Join(squat, "trees"), 0o777))
	must(t, os.Chmod(squat, 0o1777))
	_, err := p.try("FROM scratch\nCOPY f /f\n", func(o *builder.Options) { o.Store = squat })
	p.refusal(err, squat)
	must(t, os.Chown(squat, 1000, 1000))
	must(t, os.Chmod(squat, 0o700))
	_, err = p.try("FROM scratch\nCOPY f /f\n", func(o *builder.Options) { o.Store = squat })
	p.refusal(err, squat, "belongs to user 1000")
}

func TestA19CapabilitiesAreNotHandedOn(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	p.run(base, `test "$(grep -E 'Cap(Inh|Amb)' /proc/self/status | tr -d 'CapInhAmb:\t 0\n')" = ""`)
	p.accepted("FROM " + base + "\nUSER app\nRUN test \"$(grep -E 'Cap(Inh|Amb)' /proc/self/status | tr -d 'CapInhAmb:\\t 0\\n')\" = \"\"\n")
}

func TestA20UsersHaveNoCapabilities(t *testing.T) {
	if isolation == worker.IsolationUsernsSingle {
		t.Skip("SKIPPED: not promised on rung userns-single: its other users are root by another name")
	}
	p := newPlace(t)
	needsRun(t)
	p.accepted("FROM " + p.hub.base() + "\nUSER 1000\nRUN test \"$(grep -E 'Cap(Eff|Prm)' /proc/self/status | tr -d 'CapEffPrm:\\t 0\\n')\" = \"\"\n")
}

func TestA21GroupsOfWhoBuilds(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	p.write("Dockerfile", "FROM "+base+"\nRUN test \"$(id -G)\" = 0\nUSER 1234\nRUN test \"$(id -G)\" = 0\nUSER app:grp\nRUN test \"$(id -G)\" = 2000\nUSER app\nRUN test \"$(id -G)\" = '1000 2000'\n")
	setpriv, err := exec.LookPath("setpriv")
	o := p.callWith(func(cmd *exec.Cmd) {
		if os.Getuid() == 0 && err == nil {
			cmd.Args = append([]string{"setpriv", "--groups", "4242,27", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = setpriv
		}
	}, "build", "--progress", "plain", ".")
	if o.code != 0 {
		t.Errorf("it fails: %s", o.stderr)
	}
}

func TestA22NumbersThatBecomeRoot(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	p.write("f", "")
	for _, id := range []string{"4294967296", "4294967295", "2147483648", "-1", "+0", "0x0", "00", "１", "18446744073709551616", "1e3", "0:4294967296"} {
		p.part(id, func() {
			p.refused("FROM " + base + "\nUSER " + id + "\nRUN id\n")
			if strings.Contains(p.printed(), "uid=") {
				p.t.Errorf("it ran: %s", p.printed())
			}
			if id == "+0" || id == "00" {
				return // which the frontend takes for the numbers that they are
			}
			if id != "2147483648" {
				p.refused("FROM " + base + "\nRUN --mount=type=cache,target=/c,uid=" + id + " id\n")
			}
			got, err := p.try("FROM " + base + "\nCOPY --chown=" + id + " f /f\n")
			if err != nil {
				p.refusal(err)
			} else if e := got.entry("f"); e.UID == 0 {
				p.t.Errorf("f belongs to root: %+v", e)
			}
		})
	}
}

func TestA26WritesToBindMounts(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("f", "f")
	p.write("x/g", "g")
	got := p.accepted("FROM " + p.hub.base() + "\nRUN --mount=type=bind,target=/ctx,rw touch /ctx/new && echo changed > /ctx/f && rm -r /ctx/x && ln -s /etc /ctx/l && test -f /ctx/new\nRUN --mount=type=bind,target=/ctx test ! -e /ctx/new && test $(cat /ctx/f) = f\n")
	got.lacks("ctx/new")
	entries, err := os.ReadDir(p.context)
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("the context has %v", entries)
	}
}

func TestB01BindMountsThroughLinks(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	links := []entry{symlink("rootdir", "/"), symlink("hostdir", p.host.dir), symlink("up", strings.Repeat("../", 30)), file("marker", "stage")}
	for i := range 39 {
		links = append(links, symlink(fmt.Sprintf("c%d", i), fmt.Sprintf("c%d", i+1)))
	}
	links = append(links, symlink("c39", "/"))
	base := p.hub.base(tarOf(t, links...))
	for _, source := range []string{"/rootdir", "/up", "/c0", "/rootdir/rootdir"} {
		p.part(source, func() {
			p.accepted("FROM " + base + " AS st\nFROM " + base + "\nRUN --mount=type=bind,from=st,source=" + source + ",destination=/e,rw touch /e/BIND_BREAKOUT && test $(cat /e/marker) = stage\n").lacks("BIND_BREAKOUT")
		})
	}
	p.refused("FROM " + base + " AS st\nFROM " + base + "\nRUN --mount=type=bind,from=st,source=/hostdir,destination=/e,rw touch /e/BIND_BREAKOUT\n")
	must(t, os.Symlink("/", filepath.Join(p.context, "rootdir")))
	p.write("marker", "context")
	p.accepted("FROM " + base + "\nRUN --mount=type=bind,source=rootdir,target=/e,rw touch /e/BIND_BREAKOUT && test $(cat /e/marker) = context\n")
	p.accepted("FROM "+base+"\nRUN --mount=type=bind,from=named,source=rootdir,target=/e,rw touch /e/BIND_BREAKOUT && test $(cat /e/marker) = context\n", func(o *builder.Options) {
		o.Contexts = map[string]string{"named": p.context}
	})
	if _, err := os.Lstat("/BIND_BREAKOUT"); err == nil {
		t.Error("/BIND_BREAKOUT was made on this machine")
	}
}

func TestB02OptionsOfMounts(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	for _, options := range []string{"type=bind,bind-propagation=shared,target=/m", "type=bind,rslave,target=/m", "type=bind,relabel=shared,target=/m", "type=bind,z,target=/m", "type=bind,O,target=/m",
		"type=tmpfs,option=x,target=/m", "type=tmpfs,dev,target=/m", "type=tmpfs,suid,target=/m", "type=cache,unknown=1,target=/m", "type=tmpfs,target=", "type=tmpfs", "type=tmpfs,target=/", "type=tmpfs,target=..",
		"type=tmpfs,target=/proc", "type=tmpfs,target=/proc/sys", "type=tmpfs,target=/sys", "type=tmpfs,target=/dev", "type=bind,target=/proc/self", "type=bind,target=/sys/kernel", "type=nonsense,target=/m", "type=tmpfs,target=/a/../proc",
		"type=tmpfs,target=/m,size=-1", "type=tmpfs,target=/m,size=x", "type=cache,target=/m,sharing=x", "type=cache,target=/m,mode=9", "type=bind,source=/m"} {
		p.part(options, func() { p.refused("FROM " + base + "\nRUN --mount=" + options + " id\n") })
		if strings.Contains(p.printed(), "uid=") {
			t.Errorf("%s: it ran", options)
		}
	}
	links := p.hub.base(tarOf(t, symlink("p", "/proc"), symlink("s", "/sys/kernel"), symlink("d", "dev"), symlink("r", "/")))
	for _, target := range []string{"/p", "/p/sys", "/s", "/d", "/r", "/r/r/proc"} {
		p.part(target, func() { p.refused("FROM " + links + "\nRUN --mount=type=tmpfs,target=" + target + " id\n") })
	}
}

func TestB03NamesOfCaches(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	ids := []string{"../../../../.." + p.host.dir, "/", ".", "..", strings.Repeat("i", 300), "a/../../b", "a//b", "a/b", "a b", "ä"}
	for i, id := range ids {
		script := fmt.Sprintf("test -z \"$(ls /c)\" && echo %d > /c/mine", i)
		p.part(id, func() {
			p.accepted("FROM " + base + "\nRUN --mount=\"type=cache,id=" + id + ",target=/c\" " + script + "\n").lacks("c/mine")
			p.refused("FROM " + base + "\nRUN --mount=\"type=cache,id=" + id + ",from=" + base + ",source=../../../.." + p.host.dir + ",target=/c2\" id\n")
		})
	}
	for i, id := range ids {
		p.accepted("FROM " + base + "\nRUN --mount=\"type=cache,id=" + id + ",target=/c\" " + fmt.Sprintf("test $(cat /c/mine) = %d # again", i) + "\n")
	}
	entries, err := os.ReadDir(filepath.Join(p.store, "mounts"))
	must(t, err)
	for _, e := range entries {
		digits, _, _ := strings.Cut(e.Name(), "-") // and of which rung it is
		if strings.Trim(digits, "0123456789abcdef") != "" {
			t.Errorf("a cache lies in %s", e.Name())
		}
	}
}

func TestB06LinksWhereTheSandboxMounts(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	h := p.host.dir
	for name, e := range map[string]entry{
		"resolv.conf": symlink("etc/resolv.conf", h+"/victim-empty"), "resolv.conf up": symlink("etc/resolv.conf", "../../../../../.."+h+"/x"), "hosts": symlink("etc/hosts", "/dev/../"+h+"/x"), "etc": symlink("etc", h),
		"secrets": symlink("run/secrets", h), "dev": symlink("dev", h), "proc": symlink("proc", "/"), "sys": symlink("sys", ".."), "resolv.conf is a directory": dir("etc/resolv.conf"), "hosts is a pipe": fifo("etc/hosts"),
		"resolv.conf loops": symlink("etc/resolv.conf", "resolv.conf"), "hosts is a device": device('3', "etc/hosts", 1, 3), "etc is a file": file("etc", ""), "proc is a file": file("proc", ""),
	} {
		base := p.hub.base(tarOf(t, e))
		p.part(name, func() {
			got, err := p.try("FROM "+base+"\nRUN --mount=type=secret,id=s touch /ran\n", func(o *builder.Options) {
				o.Secrets = []builder.Secret{{ID: "s", Value: func() ([]byte, error) { return []byte("x"), nil }}}
			})
			if err != nil {
				p.refusal(err)
				return
			}
			got.entry("ran")
			p.untouched()
		})
	}
}

func TestB09VariablesWithoutAValue(t *testing.T) {
	onlyWithNamespaces(t, "there is no /proc, by which it is seen")
	p := newPlace(t)
	needsRun(t)
	t.Setenv("CANARY", secret)
	t.Setenv("AWS_SECRET", secret)
	long := []string{"PATH=/bin", "CANARY", "AWS_*", "*", "=x", "A=1\nB=2", "", "SPACE D=1", "NUL=a\x00b", "PATH"}
	for i := range 5000 {
		long = append(long, fmt.Sprintf("E%d=%d", i, i))
	}
	base := p.hub.baseWith(withConfig(map[string]any{"Env": long}))
	p.run(base, "env; cat /proc/1/environ; echo E7 is $E7")
	if out := p.printed(); strings.Contains(out, secret) || !strings.Contains(out, "E7 is 7") {
		t.Errorf("the step's environment: %.2000s", out)
	}
}

func TestB10NothingOfTheBuildersEnvironment(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	for _, name := range []string{"REGISTRY_AUTH_FILE", "SSH_AUTH_SOCK", "CONTAINERS_CONF", "DOCKER_HOST", "XDG_RUNTIME_DIR", "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "LD_LIBRARY_PATH", "OCIBUILD_ANY", "SHELL", "USER", "LANG", "HOSTNAME", "MAIL", "TERM", "GOFLAGS"} {
		t.Setenv(name, "/canary-"+secret)
	}
	p.run(base, "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'")
	if out := p.printed(); strings.Contains(out, secret) || strings.Contains(out, p.store) {
		t.Errorf("the step sees %s", out)
	}
	for _, line := range strings.Split(p.printed(), "\n") {
		if name, _, ok := strings.Cut(line, "="); ok && !slices.Contains([]string{"PATH", "HOME", "PWD", "SHLVL", "OLDPWD", "_"}, name) && strings.ToUpper(name) == name {
			t.Errorf("the step has the variable %s", line)
		}
	}
}

func TestB17SecretsThatAreNotThere(t *testing.T) {
	p := newPlace(t)
	p.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	for _, s := range []string{"id", "=", "id=", "id=,src=", "id=x,src=/nowhere", "id=x,env=NOWHERE_SET", "id=x,nonsense=1", "", ",", "id=x,src=" + p.host.dir + "/dir"} {
		o := p.call("build", "--secret", s, ".")
		p.part(s, func() { p.fails(o, 2, "--secret") })
	}
	args := []string{"build", "-q"}
	for i := range 1000 {
		args = append(args, "--secret", fmt.Sprintf("id=s%d,src=Dockerfile", i))
	}
	cmd := p.command(append(args, ".")...)
	cmd.Args = append([]string{"sh", "-c", `ulimit -n 256; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("1000 secrets with 256 descriptors: %v\n%s", err, out)
	}
}

func TestB18WhatABindMountShowsCounts(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	dockerfile := "FROM " + p.hub.base() + " AS st\nCOPY f /only/here\nFROM " + p.hub.base() + "\nRUN --mount=type=bind,from=st,source=/only,target=/s cp /s/here /seen\n"
	for _, data := range []string{"one", "two"} {
		p.write("f", data)
		p.accepted(dockerfile).holds("seen", data)
	}
}

func TestK04ArgumentsStayInTheirStage(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	dockerfile := "FROM " + base + " AS a\nARG TOKEN\nRUN echo a > /a\nFROM " + base + "\nCOPY --from=a /a /a\nRUN env > /env && echo b > /b\n"
	with := func(v string) func(*builder.Options) {
		return func(o *builder.Options) { o.Args = map[string]string{"TOKEN": v} }
	}
	p.accepted(dockerfile, with("one-"+secret)).lacks("nothing")
	got := p.accepted(dockerfile, with("two-"+secret))
	if strings.Contains(got.read("env"), secret) || bytes.Contains(got.img.Config, []byte(secret)) {
		t.Errorf("the argument of another stage is seen: %s %s", got.read("env"), got.img.Config)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.said {
		if e.Kind == "done" && strings.Contains(e.Name, "echo b") {
			t.Errorf("the argument of another stage makes %s run again", e.Name)
		}
	}
}

func TestK05ProcessesThatStayBehind(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	got := p.run(p.hub.base(), `
sleep 9999 &
setsid sh -c 'sleep 9998 & sleep 9997' &
(trap '' HUP TERM INT; while :; do echo x >> /written; sleep 0.01; done) &
sleep 0.1
echo done`)
	p.untouched() // nothing of it is left
	got.entry("written")
	if strings.TrimSpace(p.printed()) != "done" {
		t.Errorf("it printed %q", p.printed())
	}
}

func TestX16DescriptorsOfWhoCalls(t *testing.T) {
	onlyWithNamespaces(t, "there is no /proc, by which it is seen")
	p := newPlace(t)
	base := p.armed()
	p.write("Dockerfile", "FROM "+base+"\nRUN [\"/bin/attack\", \"descriptors\"]\nRUN test -z \"$(cat)\"; case $(readlink /proc/self/fd/0) in /dev/null|pipe:*) ;; *) exit 1;; esac\n")
	f, err := os.Open(filepath.Join(p.host.dir, "secret"))
	must(t, err)
	defer f.Close()
	o := p.callWith(func(cmd *exec.Cmd) {
		for range 17 {
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
		cmd.Stdin = f
	}, "build", "--progress", "plain", ".")
	if o.code != 0 {
		t.Errorf("%s", o.stderr)
	}
}

func TestX22NoNetwork(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	abstract, err := net.Listen("unix", "@threats-"+filepath.Base(p.dir)+fmt.Sprint(os.Getpid()))
	must(t, err)
	defer abstract.Close()
	name := strings.TrimPrefix(abstract.Addr().String(), "@")
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if isolation == worker.IsolationChroot { // to run with a network in place of none would be a lie
		p.refused("FROM "+base+"\nRUN --network=none true\n", "without a network cannot be had on isolation chroot")
		return
	}
	p.accepted("FROM " + base + "\nRUN --network=none <<'END'\nset -eu\ntest \"$(ls /sys/class/net)\" = lo\n" +
		"! nc -w 1 127.0.0.1 " + port + " </dev/null\n! nc -w 1 169.254.169.254 80 </dev/null\n! nc -w 1 192.0.2.1 80 </dev/null\nattack abstract " + name + "\nEND\n")
	if _, err := p.try("FROM " + base + "\nRUN attack abstract " + name + "\n"); err == nil {
		t.Error("with the host's network the socket cannot be reached either, so this shows nothing")
	}
}
