//go:build linux

package threats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/worker"
	"github.com/ocibuild/ocibuild/layer"
)

// withSecret gives a build the secret s.
func withSecret(value string) func(*builder.Options) {
	return func(o *builder.Options) {
		o.Secrets = []builder.Secret{{ID: "s", Value: func() ([]byte, error) { return []byte(value), nil }}}
	}
}

func TestX03TargetsOfMounts(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base(tarOf(t, symlink("out", p.host.dir), dir("d"), file("file", "f")))
	for _, kind := range []string{"tmpfs", "cache", "bind", "secret,id=s"} {
		for _, target := range []string{"/", "/proc/x", "/sys/x", "/dev", "/proc", "/d/../proc"} {
			p.part(kind+target, func() {
				p.refusal(errOf(p.try("FROM "+base+"\nRUN --mount=type="+kind+",target="+target+" id\n", withSecret("x"))))
			})
		}
		for _, target := range []string{"relative/x", "../../climbs", "/out/dir2", "/new/deep/place"} {
			p.part(kind+target, func() {
				got := p.accepted("FROM "+base+"\nRUN --mount=type="+kind+",target="+target+" touch /ran\n", withSecret("x"))
				got.entry("ran")
				got.lacks("new")
			})
		}
	}
	p.refused("FROM " + base + "\nRUN --mount=type=tmpfs,target=/file true\n")
	p.accepted("FROM " + base + "\nRUN --mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a touch /ran\n").entry("ran") // the deeper one first
	p.accepted("FROM " + base + "\nRUN --mount=type=tmpfs,target=/a --mount=type=tmpfs,target=/a touch /ran\n").entry("ran")
	many := "RUN"
	for i := range 200 {
		many += fmt.Sprintf(" --mount=type=tmpfs,target=/many/%d", i)
	}
	p.accepted("FROM " + base + "\n" + many + " test $(ls /many | wc -l) = 200 && touch /ran\n").lacks("many")
}

func TestX04LocksOfCaches(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	onlyWithNamespaces(t, "a cache can be at one place only")
	twice := "RUN --mount=type=cache,id=a,sharing=locked,target=/x --mount=type=cache,id=a,sharing=locked,target=/y touch /x/f && test -f /y/f && touch /ran\n"
	p.accepted("FROM " + base + "\n" + twice).entry("ran")
	// One takes A and then B, the other B and then A.
	p.accepted("FROM " + base + " AS one\nRUN --mount=type=cache,id=a,sharing=locked,target=/a --mount=type=cache,id=b,sharing=locked,target=/b sleep 0.2; touch /1\n" +
		"FROM " + base + " AS two\nRUN --mount=type=cache,id=b,sharing=locked,target=/b --mount=type=cache,id=a,sharing=locked,target=/a sleep 0.2; touch /2\n" +
		"FROM scratch\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n").entry("2")
}

func TestX05WhatStepsLeaveInCaches(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	p.accepted("FROM " + base + "\nRUN --mount=type=cache,id=c,target=/c ln -s $HOST /c/x && ln -s $HOST/secret /c/y && cp /bin/busybox /c/setuid && chmod 4755 /c/setuid && mkfifo /c/pipe; mkdir /c/deep && chmod 0 /c/deep; true\n")
	got := p.accepted("FROM " + base + "\nRUN --mount=type=cache,id=c,target=/c cp -a /c /copied; test -L /copied/x\n")
	p.nothingOfTheHost(got)
	c := p.openStore()
	p.change = nil
	must(t, removeMounts(c))
	p.untouched()
}

// removeMounts takes the caches of a store away, as collecting them would.
func removeMounts(d *cache.Dir) error {
	entries, err := os.ReadDir(d.MountsPath())
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.MountsPath(), e.Name())))
	}
	if os.Getuid() != 0 {
		return nil // they belong to sub-ids
	}
	return err
}

func TestX06Secrets(t *testing.T) {
	p := newPlace(t)
	value := "B1-" + secret + "-line1\nB2-" + secret + "-line2\n"
	out := filepath.Join(p.dir, "out")
	must(t, os.MkdirAll(out, 0o755))
	file := filepath.Join(out, "value")
	base := p.hub.base()
	needsRun(t)
	dockerfile := "FROM " + base + "\nRUN --mount=type=secret,id=s,target=/made/for/it test \"$(stat -c %a /made/for/it)\" = 400 && sha256sum /made/for/it\n" +
		"RUN --mount=type=secret,id=s cat /run/secrets/s && set -x && echo \"$(cat /run/secrets/s)\"\n" +
		"RUN --mount=type=secret,id=s,env=TOKEN printf '%s' \"$TOKEN\" | head -c 20; printf '%s\\n' \"$TOKEN\"; test ! -e /run/secrets\n"
	p.write("Dockerfile", dockerfile)
	must(t, os.WriteFile(file, []byte(value), 0o600))
	for _, progress := range []string{"plain", "rawjson"} {
		o := p.call("build", "--no-cache", "--progress", progress, "--secret", "id=s,src="+file, "-t", "mine", "--metadata-file", filepath.Join(out, "meta"), "-o", "type=oci,dest="+filepath.Join(out, "image.tar"), "-o", "type=image", ".")
		if o.code != 0 {
			t.Fatalf("%s", o.stderr)
		}
		if strings.Contains(o.decoded(), secret) {
			t.Errorf("the output shows it: %s", o.stderr)
		}
	}
	// The steps that failed say no more.
	p.write("Dockerfile", "FROM "+base+"\nRUN --mount=type=secret,id=s cat /run/secrets/s; exit 3\n")
	for _, progress := range []string{"plain", "quiet"} {
		o := p.call("build", "--progress", progress, "--secret", "id=s,src="+file, ".")
		p.fails(o, 1, "exit code 3")
		if strings.Contains(o.decoded(), secret) {
			t.Errorf("the output shows it: %s", o.stderr)
		}
	}
	must(t, os.Remove(file))
	lines := strings.Split(strings.TrimSpace(value), "\n")
	p.nowhere(out, lines...)
	p.nowhere(p.store, lines...)
	// Another value is no reason to do a step again, and leaves no trace of mount points.
	step := "FROM " + base + "\nRUN --mount=type=secret,id=s,target=/a/b/s date +%N > /when\n"
	first := p.accepted(step, withSecret("one"))
	first.lacks("a")
	second := p.accepted(step, withSecret("two"))
	if first.read("when") != second.read("when") {
		t.Error("another secret makes the step run again")
	}
	p.accepted("FROM "+base+"\nRUN --mount=type=secret,id=s test -f /run/secrets/s && test ! -s /run/secrets/s\n", withSecret(""))
	must(t, os.WriteFile(file, make([]byte, 501<<10), 0o600))
	p.write("Dockerfile", step)
	p.fails(p.call("build", "--secret", "id=s,src="+file, "."), 2, "more than 512000 bytes")
	must(t, os.Remove(file))
}

func TestX06SecretsOfTheLibrary(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	value := "L1-" + secret
	_, err := p.try("FROM "+base+"\nRUN --mount=type=secret,id=s cat /run/secrets/s; echo again; cat /run/secrets/s >&2; exit 4\n", withSecret(value+"\n"))
	exit, ok := errors.AsType[*builder.ExitError](err)
	if !ok || exit.Code != 4 {
		t.Fatalf("%v", err)
	}
	all := err.Error() + string(exit.Output) + p.printed()
	p.mu.Lock()
	for _, e := range p.said {
		all += e.Name + e.Error + string(e.Data)
	}
	p.mu.Unlock()
	if strings.Contains(all, secret) {
		t.Errorf("the library says it: %s", all)
	}
	if !strings.Contains(all, "again") {
		t.Errorf("it says nothing: %s", all)
	}
}

func TestX07KilledWithASecret(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	value := "K1-" + secret
	file := filepath.Join(p.dir, "out", "value")
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(value), 0o600))
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=E echo moun''ted; sleep 60\n")
	cmd := p.command("build", "--progress", "plain", "--secret", "id=s,src="+file, ".")
	p.killedAt(cmd, "mounted", syscall.SIGKILL)
	must(t, os.Remove(file))
	if isolation != worker.IsolationChroot { // where secrets are files, which the next build removes
		p.nowhere(p.store, value)
	}
	p.run(p.hub.base(), "true") // whose worker sweeps what the dead one left
	p.nowhere(p.store, value)
}

// until starts a command and waits for a text, which must not stand in the
// Dockerfile: steps are announced. What it says can be asked for as it goes on.
func (p *place) until(cmd *exec.Cmd, text string) (said func() string) {
	p.t.Helper()
	out, err := os.Create(filepath.Join(p.t.TempDir(), "said"))
	must(p.t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	must(p.t, cmd.Start())
	said = func() string {
		data, err := os.ReadFile(out.Name())
		must(p.t, err)
		return string(data)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(said(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			p.t.Fatalf("%q did not appear: %s", text, said())
		}
	}
	return said
}

// killedAt starts a command, waits for a text and ends it with a signal; it
// returns its exit code and what it said. No process of it may stay.
func (p *place) killedAt(cmd *exec.Cmd, text string, signals ...os.Signal) (int, string) {
	p.t.Helper()
	said := p.until(cmd, text)
	for _, s := range signals {
		must(p.t, cmd.Process.Signal(s))
		time.Sleep(50 * time.Millisecond) // signals that wait are one
	}
	_ = cmd.Wait() // its code is what counts
	p.gone()
	return cmd.ProcessState.ExitCode(), said()
}

func TestX08SecretsInArguments(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	args := func(o *builder.Options) {
		o.Args = map[string]string{"TOKEN": "A1-" + secret, "HTTP_PROXY": "http://user:" + secret + "@127.0.0.1:1", "https_proxy": "http://" + secret}
	}
	got := p.accepted("FROM "+base+"\nARG TOKEN\nENV OTHER=1\nRUN test -n \"$TOKEN\" && test -n \"$HTTP_PROXY\"\n", args)
	var c struct{ Config struct{ Env []string } }
	must(t, json.Unmarshal(got.img.Config, &c))
	if strings.Contains(strings.Join(c.Config.Env, " "), secret) {
		t.Errorf("the image's variables are %q", c.Config.Env)
	}
	warned := false
	p.mu.Lock()
	for _, e := range p.said {
		warned = warned || e.Kind == "warn" && strings.Contains(string(e.Data), "SecretsUsedInArgOrEnv")
	}
	p.mu.Unlock()
	if !warned {
		t.Error("nobody is warned of a token in an argument")
	}
	// Proxies are in no history and in no key.
	step := "FROM " + base + "\nRUN date +%N > /when\n"
	first := p.accepted(step, args)
	if bytes.Contains(first.img.Config, []byte(secret)) {
		t.Errorf("the image says %s", first.img.Config)
	}
	second := p.accepted(step)
	if first.read("when") != second.read("when") {
		t.Error("another proxy makes the step run again")
	}
}

func TestX09ScopesOfArguments(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.baseWith(withConfig(map[string]any{"OnBuild": []string{"ARG FROM_TRIGGER", "RUN env > /trigger"}}))
	got := p.accepted("ARG GLOBAL=g-"+secret+"\nFROM "+base+"\nRUN env > /env\n", func(o *builder.Options) {
		o.Args = map[string]string{"UNDECLARED": "u-" + secret, "FROM_TRIGGER": "t"}
	})
	if env := got.read("env") + got.read("trigger"); strings.Contains(env, secret) || !strings.Contains(env, "FROM_TRIGGER=t") {
		t.Errorf("the step has %s", env)
	}
}

func TestX11DaemonsThatHoldTheOutput(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.run(p.hub.base(), "(setsid sh -c 'sleep 9000; echo late' &) ; (exec 2>&1; sleep 9001 &) ; echo early")
	if strings.TrimSpace(p.printed()) != "early" {
		t.Errorf("it printed %q", p.printed())
	}
	p.untouched()
}

func TestX12ForkBombs(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN echo beg''un; i=0; while [ $i -lt 400 ]; do (sleep 100 & sleep 101 &) ; i=$((i+1)); done; wait; sleep 102\n")
	code, said := p.killedAt(p.command("build", "--progress", "plain", "."), "begun", os.Interrupt)
	if code != 130 {
		t.Errorf("exit code %d: %s", code, said)
	}
	p.nobodyRuns("sleep\x0010")
}

// nobodyRuns wants no process with that in its command line.
func (p *place) nobodyRuns(command string) {
	p.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(p.t, err)
	for _, name := range all {
		if line, err := os.ReadFile(name); err == nil && strings.Contains(string(line), command) {
			p.t.Errorf("%s still runs: %q", name, line)
		}
	}
}

func TestX13Memory(t *testing.T) {
	onlyWithNamespaces(t, "a /dev/shm with a bound, and /proc")
	p := newPlace(t)
	needsRun(t)
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	must(t, err)
	p.run(p.hub.base(), "test $(cat /proc/self/oom_score_adj) -ge "+strings.TrimSpace(string(score))+" && test $(df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2) = 65536; ! dd if=/dev/zero of=/dev/shm/x bs=1M count=70 2>/dev/null")
}

func TestX14OutputWithoutEnd(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	// One line of 16 MiB, and many short ones.
	p.write("Dockerfile", "FROM "+base+"\nRUN head -c 16777216 /dev/zero | tr '\\0' x; yes | head -n 100000\n")
	for _, progress := range []string{"plain", "quiet"} {
		cmd := p.command("build", "--no-cache", "--progress", progress, ".")
		if used := p.memoryOf(cmd); used > 150<<10 {
			t.Errorf("--progress %s takes %d KiB", progress, used)
		}
	}
	got := p.run(base, "dd if=/dev/zero of=/hole bs=1 count=1 seek=200000000 2>/dev/null; ls -l /hole")
	if got.entry("hole").Size != 200000001 {
		t.Errorf("the hole is %+v", got.entry("hole"))
	}
}

func TestX17MountsOfTheMachine(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	stop, seen := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(seen)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				if mounts, err := os.ReadFile("/proc/self/mountinfo"); err == nil && bytes.Contains(mounts, []byte(p.dir)) {
					seen <- string(mounts)
					return
				}
			}
		}
	}()
	p.run(p.hub.base(), "sleep 0.3")
	close(stop)
	if mounts := <-seen; mounts != "" {
		t.Errorf("during the build the machine had the mounts %s", mounts)
	}
}

func TestX18StateOfWhoCalls(t *testing.T) {
	onlyWithNamespaces(t, "a host name of its own, and /proc")
	p := newPlace(t)
	needsRun(t)
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN test $(hostname) = ocibuild && test $(umask) = 0022 && test $(pwd) = / && test $(ulimit -c) = 0 && test $(ulimit -n) = 1024\n"+
		"RUN grep -E '^Sig(Blk|Ign)' /proc/self/status | grep -v ':.0*$' && exit 1; test $(cut -d' ' -f 6 /proc/self/stat) = 0 -o $(cut -d' ' -f 6 /proc/self/stat) = 1\n"+
		"RUN ! (exec 3</dev/tty) 2>/dev/null; test \"$(cat /proc/self/personality 2>/dev/null || echo 00000000)\" = 00000000\n")
	o := p.callWith(func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `umask 0777; trap '' HUP PIPE INT; ulimit -n 2000; exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}, "build", "--progress", "plain", ".")
	if o.code != 0 {
		t.Errorf("%s", o.stderr)
	}
}

func TestX19PathsThatMayNotBeWritten(t *testing.T) {
	onlyWithNamespaces(t, "there is no /proc and no /sys")
	p := newPlace(t)
	needsRun(t)
	p.run(p.hub.base(), `
for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/overcommit_memory /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run /sys/kernel/uevent_helper /proc/bus/pci; do
	! test -e $f || ! (echo x > $f) 2>/dev/null
done
! mount -o remount,rw /sys 2>/dev/null
! mount -o remount,rw /proc/sys 2>/dev/null
! umount /proc/sys 2>/dev/null
! umount /proc/kcore 2>/dev/null
! mount -t proc p /tmp 2>/dev/null
! mknod /tmp/disk b 8 0 || test "$(dd if=/tmp/disk count=1 2>/dev/null | wc -c)" = 0`)
}

func TestX20TheBuilderCannotBeSeen(t *testing.T) {
	onlyWithNamespaces(t, "processes see each other; TestX20WithoutNamespaces has what remains")
	p := newPlace(t)
	base := p.armed()
	p.run(base, "attack trace && test $(ls -d /proc/[0-9]* | wc -l) -lt 5")
}

func TestX21SetuidPrograms(t *testing.T) {
	onlyWithNamespaces(t, "there is no /proc, by which it is seen")
	p := newPlace(t)
	needsRun(t)
	su := executable("bin/suid", []byte("x")).with(func(h *tarHeader) { h.Mode = 0o4755 })
	base := p.hub.base(tarOf(t, su))
	p.accepted("FROM " + base + "\nUSER app\nRUN grep -q 'NoNewPrivs:.0' /proc/self/status && test \"$(stat -c %a:%u /bin/suid)\" = 4755:0\n")
}

func TestX24NetworkFiles(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	for name, e := range map[string]entry{"plain": file("etc/resolv.conf", "nameserver 9.9.9.9\n"), "missing": dir("etc"), "link": symlink("etc/resolv.conf", "../run/resolv"), "directory": dir("etc/hosts")} {
		base := p.hub.base(tarOf(t, dir("etc").with(func(h *tarHeader) { h.ModTime = then }), e))
		p.part(name, func() {
			got := p.accepted("FROM " + base + "\nRUN (echo evil >> /etc/resolv.conf) 2>/dev/null; (echo evil >> /etc/hosts) 2>/dev/null; (echo evil > /etc/hostname) 2>/dev/null; touch /ran\n")
			last := layer.NewView(got.img.Layers[len(got.img.Layers)-1:])
			for _, f := range []string{"etc/resolv.conf", "etc/hosts"} {
				if _, err := last.Lookup(context.Background(), f); err == nil && name != "link" {
					p.t.Errorf("%s is in the layer", f)
				}
			}
			if name == "missing" {
				got.lacks("etc/resolv.conf")
			}
		})
	}
}

func TestX25NothingWritesWhileALayerIsRead(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	got := p.run(p.hub.base(), "(while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >> /grows; done) & sleep 0.2; exit 0")
	if size := int64(len(got.read("grows"))); size != got.entry("grows").Size || size == 0 {
		t.Errorf("it has %d bytes, of %d", size, got.entry("grows").Size)
	}
	p.untouched()
}

func TestX27DockerfilesThatBlowUp(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	grow := "FROM scratch\nENV a=aaaaaaaaaa\n"
	for range 40 {
		grow += "ENV a=$a$a\n"
	}
	stages := ""
	for i := range 2000 {
		stages += fmt.Sprintf("FROM scratch AS s%d\nCOPY f /f\n", i)
	}
	for name, dockerfile := range map[string]string{
		"a stage of itself": "FROM a AS a\nCOPY --from=a f /\n", "stages in a circle": "FROM scratch AS a\nCOPY --from=b f /\nFROM scratch AS b\nCOPY --from=a f /\n", "heredoc without end": "FROM scratch\nCOPY <<EOF /f\n" + strings.Repeat("x\n", 10_000),
		"only returns": "FROM scratch\rCOPY f /f\r", "grows": grow, "open brace": "FROM scratch\nENV a=" + strings.Repeat("${a:-", 300), "nonsense": strings.Repeat("(", 1000),
	} {
		p.part(name, func() {
			if _, err := p.try(dockerfile); err != nil {
				p.refusal(err)
			}
		})
	}
	p.refused(grow, "grow to more than")
	p.refused("FROM scratch\nARG a="+strings.Repeat("x", 10_000)+"\nLABEL l="+strings.Repeat("$a", 5_000)+"\n", "grow to more than")
	triggers := strings.Split(strings.TrimSpace(strings.TrimPrefix(grow, "FROM scratch\n")), "\n")
	p.hub.image("grows", withConfig(map[string]any{"OnBuild": triggers}), tarOf(t, file("x", "")))
	p.refused("FROM $HUB/grows\n", "grow to more than")
	p.hub.image("half", withConfig(map[string]any{"OnBuild": triggers[:20]}), tarOf(t, file("x", "")))
	p.refused("FROM $HUB/half\n"+strings.Join(triggers[1:21], "\n")+"\n", "grow to more than")
	for name, text := range map[string]string{"NUL": "FROM scratch\n\x00\x00\n", "UTF-16": "\xff\xfeF\x00R\x00O\x00M\x00"} {
		p.write("Dockerfile", text)
		p.part(name, func() { p.fails(p.call("build", "."), 1, "unknown instruction") })
	}
	for name, dockerfile := range map[string]string{
		"many lines": "FROM scratch\n" + strings.Repeat("# x\n", 200_000) + "COPY f /f\n", "long line": "FROM scratch\nLABEL x=" + strings.Repeat("y", 30_000) + "\nCOPY f /f\n", "continued": "FROM scratch\nLABEL " + strings.Repeat("\\\n", 20_000) + "a=b\nCOPY f /f\n",
		"many stages": stages, "BOM": "\ufeffFROM scratch\nCOPY f /f\n", "CRLF": "FROM scratch\r\nCOPY f /f\r\n", "escape": "# escape=`\nFROM scratch\nCOPY f /f\n",
	} {
		p.part(name, func() { p.accepted(dockerfile).holds("f", "f") })
	}
	p.refused("# syntax=$HUB/evil/frontend\nFROM scratch\nCOPY f /f\n", "syntax")
	if asked := p.hub.requests("GET /v2/evil"); len(asked) > 0 {
		t.Error("a frontend of somebody else was asked for")
	}
}

func TestX36OutputThatSteersTheTerminal(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN printf '\\033]0;title\\007\\033]52;c;x\\007\\033[2J\\rover\\n\\377\\376\\n::set-output name=x::y\\n##vso[task.x]y\\n\\033[31mred\\033[0m\\n'\nRUN printf '\\033]0;title\\007\\033[2J::error::x' ; exit 3\n")
	for _, progress := range []string{"plain", "rawjson", "quiet"} {
		o := p.call("build", "--no-cache", "--progress", progress, ".")
		p.fails(o, 1, "exit code 3")
		for _, bad := range []string{"\x1b]", "\x1b[2J", "\x07"} {
			if strings.Contains(o.stdout+o.stderr, bad) {
				t.Errorf("--progress %s shows %q", progress, bad)
			}
		}
		for line := range strings.Lines(o.stderr) {
			if progress == "rawjson" && strings.HasPrefix(line, "{") && !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
	}
}

func TestX37OutputThatSpeaksToCI(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN printf '::set-output name=x::y\\n##vso[task.setvariable]y\\n::add-mask::z\\r::error::z\\n'\n")
	o := p.call("build", "--progress", "plain", ".")
	for line := range strings.SplitSeq(strings.ReplaceAll(o.stderr+o.stdout, "\r", "\n"), "\n") {
		if strings.HasPrefix(line, "::") || strings.HasPrefix(line, "##vso") {
			t.Errorf("a line of the step begins a line of the log: %q", line)
		}
	}
}

func TestX38Outputs(t *testing.T) {
	p := newPlace(t)
	p.hub.image("odd", nil, tarOf(t, symlink("l", p.host.dir), file("l2", ""), dir("d")))
	p.write("Dockerfile", p.fake("FROM $HUB/odd\nLABEL a=b\n"))
	p.write("f", "")
	out := filepath.Join(p.dir, "out")
	must(t, os.MkdirAll(out, 0o755))
	// Where a link to the host's file stands, no output goes through it.
	for flag, name := range map[string]string{"--iidfile": "iid", "--metadata-file": "meta"} {
		path := filepath.Join(out, name)
		must(t, os.Symlink(p.host.dir+"/victim-full", path))
		o := p.call("build", "-q", flag, path, ".")
		p.part(flag, func() {
			p.untouched()
			if fi, err := os.Lstat(path); o.code == 0 && (err != nil || !fi.Mode().IsRegular()) {
				p.t.Errorf("it is %v, %v", fi, err)
			}
		})
	}
	for _, spec := range []string{"type=oci,dest=", "type=docker,dest="} {
		path := filepath.Join(out, "archive")
		must(t, os.Symlink(p.host.dir+"/victim-full", path))
		p.call("build", "-q", "-o", spec+path, ".")
		p.untouched()
		must(t, os.Remove(path))
	}
	// A folder gets the files of the image, and none of them leads it elsewhere, the second time as well.
	folder := filepath.Join(out, "folder")
	for range 2 {
		o := p.call("build", "-q", "-o", "type=local,dest="+folder, ".")
		if o.code != 0 {
			t.Logf("a folder with a link in it: %s", o.last())
		}
		p.untouched()
	}
	p.hub.image("through", nil, tarOf(t, file("l/victim-full", "through"), file("l/pwned", "x")))
	p.write("Dockerfile", p.fake("FROM $HUB/through\nLABEL a=b\n"))
	p.call("build", "-q", "-o", "type=local,dest="+folder, ".")
	p.untouched()
}

func TestX39NothingRunsBeforeRun(t *testing.T) {
	p := newPlace(t)
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("SKIPPED: needs strace: %v", err)
	}
	data := tarOf(t, executable("bin/sh", []byte("#!/bin/sh\n")), executable("usr/bin/tar", []byte("x")))
	p.hub.image("evil", withConfig(map[string]any{"Entrypoint": []string{"/bin/sh"}, "Healthcheck": map[string]any{"Test": []string{"CMD", "/bin/sh"}}}), data)
	p.archive("a.tar.gz", gzipped(t, data))
	p.write("Dockerfile", p.fake("FROM $HUB/evil\nADD a.tar.gz /x/\nCOPY --from=$HUB/evil / /y/\nWORKDIR /z\n"))
	trace := filepath.Join(p.dir, "out")
	must(t, os.MkdirAll(trace, 0o755))
	trace = filepath.Join(trace, "trace")
	cmd := p.command("build", "-q", ".")
	cmd.Args = append([]string{"strace", "-f", "-o", trace, "-e", "trace=execve,execveat", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("SKIPPED: nothing can be traced here: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	calls, err := os.ReadFile(trace)
	must(t, err)
	if n := strings.Count(string(calls), "execve"); n != 1 {
		t.Errorf("it executes %d programs: %s", n, calls)
	}
}

func TestB07SymlinkedOutputsOfTheStore(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	p.accepted("FROM scratch\nCOPY f /f\n")
	// Somebody who could write into the store would have all; but a link that was left there leads nowhere.
	index := filepath.Join(p.store, "index.json")
	os.Remove(index)
	must(t, os.Symlink(p.host.dir+"/victim-full", index))
	_, _ = p.try("FROM scratch\nCOPY f /g\n", func(o *builder.Options) { o.Tags = []string{"mine"} })
	p.untouched()
	must(t, os.Remove(index))
}
