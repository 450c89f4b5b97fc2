//go:build linux

package threats

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestR01TheProgramItself(t *testing.T) {
	p := newPlace(t)
	trojans := tarOf(t, symlink("bin/me", "/proc/self/exe"), executable("bin/script", []byte("#!/proc/self/exe\n")), symlink("bin/one", "/proc/1/exe"), executable("script1", []byte("#!/proc/1/exe build\n")))
	base := p.armed(trojans)
	sum := func() [32]byte {
		data, err := os.ReadFile(program(t, commandLine))
		must(t, err)
		return sha256.Sum256(data)
	}
	before := sum()
	for _, args := range []string{`["/proc/self/exe"]`, `["/bin/me"]`, `["/bin/one"]`, `["/bin/script"]`, `["/script1"]`, `["/bin/attack", "write-program"]`, `["/proc/self/exe", "ocibuild-stage"]`} {
		p.write("Dockerfile", "FROM "+base+"\nRUN "+args+"\n")
		o := p.call("build", "--progress", "plain", ".")
		if wants := strings.Contains(args, "attack"); wants != (o.code == 0) {
			t.Errorf("%s ends with %d: %s", args, o.code, o.stderr)
		}
		if sum() != before {
			t.Fatalf("%s has changed the program", args)
		}
	}
	// A program that is started under the name of a stage or a worker is neither.
	p.write("Dockerfile", "FROM "+base+"\nRUN cp /proc/1/exe /copy && for name in ocibuild-stage ocibuild-worker; do (exec -a $name /copy) && exit 1; done; true\n")
	if o := p.call("build", "--progress", "plain", "."); o.code != 0 {
		t.Errorf("%s", o.stderr)
	}
}

func TestR02WorkingDirectoriesInProc(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	for _, n := range []int{3, 5, 7} {
		p.refused(fmt.Sprintf("FROM %s\nWORKDIR /proc/self/fd/%d\nRUN cat ../../../../$HOST/secret\n", base, n), "/proc")
	}
	links := p.hub.base(tarOf(t, symlink("w", "/proc/self/fd/7"), symlink("root", "/proc/1/root"), symlink("cwd", "/proc/self/cwd")))
	for _, dir := range []string{"/w", "/root", "/cwd", "/proc/self", "/proc/1/root"} {
		p.refused("FROM " + links + "\nWORKDIR " + dir + "\nRUN cat ../../../../$HOST/secret\n")
	}
	p.run(base, `for fd in $(ls /proc/self/fd); do case $fd in 0|1|2|3) ;; *) readlink /proc/self/fd/$fd && exit 1 ;; esac; done
case $(pwd) in /*) ;; *) exit 1;; esac`)
}

func TestR03MaskedPathsThroughDevNull(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	before, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	must(t, err)
	for _, e := range [][]entry{{symlink("dev/null", "/proc/sys/kernel/core_pattern")}, {symlink("dev", "/proc/sys/kernel")}, {file("dev/null", "")}, {device('3', "dev/null", 1, 1)}} {
		got, err := p.try("FROM " + p.hub.base(tarOf(t, e...)) + "\nRUN ! (echo '|/pwned' > /proc/sys/kernel/core_pattern) && test \"$(stat -c %t:%T /dev/null)\" = 1:3 && touch /ran\n")
		if err != nil {
			p.refusal(err)
			continue
		}
		got.entry("ran")
	}
	after, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	must(t, err)
	if string(before) != string(after) {
		t.Errorf("core_pattern is %q", after)
	}
}

func TestR04NoConsole(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base(tarOf(t, symlink("dev/console", p.host.dir+"/victim-empty"), symlink("dev/pts/0", "/proc/sys/kernel/core_pattern")))
	p.run(base, "test ! -e /dev/console && test ! -L /dev/console && test ! -e /dev/pts/0")
}

func TestR05FakeProcs(t *testing.T) {
	onlyWithNamespaces(t, "there is no /proc")
	p := newPlace(t)
	needsRun(t)
	fake := tarOf(t, dir("proc"), dir("proc/self"), dir("proc/self/attr"), file("proc/self/attr/exec", ""), file("proc/self/status", "CapEff: 0\n"), file("proc/mounts", ""), dir("proc/sys/kernel"))
	p.run(p.hub.base(fake), "test \"$(stat -f -c %T /proc)\" = proc && test -n \"$(cat /proc/self/status | grep Seccomp)\" && test ! -e /proc/fake")
}

func TestR06LinksInDev(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	for _, e := range [][]entry{{symlink("dev", p.host.dir)}, {dir("dev"), symlink("dev/pts", "..")}, {dir("dev"), symlink("dev/ptmx", p.host.dir+"/victim-full")}, {dir("dev"), dir("dev/fd"), dir("dev/stdin")}, {dir("dev"), symlink("dev/shm", p.host.dir)}, {file("dev", "")}} {
		got, err := p.try("FROM " + p.hub.base(tarOf(t, e...)) + "\nRUN test -L /dev/fd && test -L /dev/ptmx && test -c /dev/null && touch /dev/shm/x /ran\n")
		if err != nil {
			p.refusal(err)
			continue
		}
		got.entry("ran")
		p.untouched()
	}
}

func TestR09RootsWithoutProcAndSys(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	for name, entries := range map[string][]entry{
		"/proc": {dir("tmp/fake"), symlink("proc", "/tmp/fake")}, "/sys": {symlink("sys", "/tmp")}, "/dev": {symlink("dev", "tmp")},
	} {
		p.part(name, func() {
			p.refused("FROM "+p.hub.base(tarOf(t, entries...))+"\nRUN true\n", name+" of the image must be a directory")
		})
	}
}

func TestR10NothingToTrace(t *testing.T) {
	onlyWithNamespaces(t, "processes see each other")
	p := newPlace(t)
	base := p.armed()
	p.run(base, "test $$ = 1 && attack trace && test \"$(ls /proc | grep -c '^[0-9]*$')\" -lt 5")
}

func TestR11ControlGroupsAreReadOnly(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.run(p.hub.base(), "! mkdir /sys/fs/cgroup/x 2>/dev/null && ! (echo 1 > /sys/fs/cgroup/cgroup.procs) 2>/dev/null")
}

func TestR12NamesThatLookLikeNumbers(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base(tarOf(t, file("etc/passwd", "1000:x:0:0::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n"), file("etc/group", "0:x:2000:\n")))
	p.accepted("FROM " + base + "\nUSER 1000\nRUN test $(id -u) = 1000\nUSER 1000:0\nRUN test $(id -u):$(id -g) = 1000:0\n")
}

func TestR13SideChannels(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.run(p.hub.base(), `
for f in /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/timer_list /proc/timer_stats; do
	test ! -e $f || test "$(head -c 1 $f 2>/dev/null | wc -c)" = 0
done
for d in /proc/acpi /proc/asound /proc/scsi /sys/firmware /sys/devices/virtual/powercap /sys/devices/system/cpu/cpu0/thermal_throttle; do
	test ! -e $d || test -z "$(ls -A $d 2>/dev/null)"
done`)
}

func TestL10SocketsThatReachThePageCache(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	p.run(base, "attack socket 38 && attack socket 40")
}

func TestA02SourcesThatAreSwapped(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	marker := tarOf(t, file("etc/hostname", "of-the-image"))
	attacker := "FROM " + base + " AS attacker\nRUN --mount=type=cache,id=c,target=/c mkdir -p /c/sel/etc && echo of-the-cache > /c/sel/etc/hostname && ln -sfn / /c/evil && attack swap 900 /c/sel /c/evil; true\n"
	victim := "FROM " + p.hub.base(marker) + " AS victim\nRUN --mount=type=bind,target=/start sleep 0.1\n"
	for i := range 12 {
		victim += fmt.Sprintf("RUN --mount=type=cache,id=c,source=sel,target=/v cat /v/etc/hostname /v/secret 2>/dev/null; test ! -e /v/host && echo %d\n", i)
	}
	got, err := p.try(attacker + victim + "FROM scratch\nCOPY --from=attacker /bin/sh /1\nCOPY --from=victim /bin/sh /2\n")
	if err != nil {
		p.oneLine(err.Error())
	} else {
		got.entry("1")
	}
	host, _ := os.ReadFile("/etc/hostname")
	for _, line := range strings.Split(p.printed(), "\n") {
		if name := strings.TrimSpace(string(host)); line == secret || name != "" && line == name {
			t.Errorf("a step has seen %q of the host", line)
		}
	}
}

func TestB05BindSourcesThatAreSwapped(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	p.hub.image("data", nil, tarOf(t, dir("d"), file("d/f", "image"), symlink("evil", p.host.dir)))
	dockerfile := "FROM " + base + " AS attacker\nRUN --mount=type=bind,from=$HUB/data,target=/x,rw attack swap 700 /x/d /x/evil; true\n" +
		"FROM " + base + " AS victim\n"
	for i := range 8 {
		dockerfile += fmt.Sprintf("RUN --mount=type=bind,from=$HUB/data,source=d,target=/v,rw test \"$(cat /v/f)\" = image && touch /v/pwned-%d\n", i)
	}
	p.accepted(dockerfile + "FROM scratch\nCOPY --from=attacker /bin/sh /1\nCOPY --from=victim /bin/sh /2\n")
}

func TestR08MountsBelowSharedMounts(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	attacker := "FROM " + base + " AS attacker\nRUN --mount=type=cache,id=c,target=/m mkdir -p /m/x/y && ln -sfn /proc /m/evil && attack swap 900 /m/x /m/evil; true\n"
	victim := "FROM " + base + " AS victim\nRUN --mount=type=bind,target=/start sleep 0.1\n"
	for i := range 10 {
		victim += fmt.Sprintf("RUN --mount=type=cache,id=c,target=/m --mount=type=tmpfs,target=/m/x/y test \"$(stat -f -c %%T /proc)\" = proc && test -e /proc/self/status && ! (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null; echo %d\n", i)
	}
	if _, err := p.try(attacker + victim + "FROM scratch\nCOPY --from=attacker /bin/sh /1\nCOPY --from=victim /bin/sh /2\n"); err != nil {
		p.oneLine(err.Error()) // to be refused is as good
	}
	p.untouched()
}

func TestR07DirectoriesMadeInARace(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	attacker := "FROM " + base + " AS attacker\nRUN --mount=type=cache,id=c,target=/m mkdir -p /m/x && ln -sfn ../../../../../../../.." + p.host.dir + " /m/evil && attack swap 900 /m/x /m/evil; true\n"
	victim := "FROM " + base + " AS victim\nRUN --mount=type=bind,target=/start sleep 0.1\n"
	for i := range 10 {
		victim += fmt.Sprintf("RUN --mount=type=cache,id=c,target=/m --mount=type=tmpfs,target=/m/x/new-%d --mount=type=cache,id=d,target=/m/x/victim-empty true\n", i)
	}
	if _, err := p.try(attacker + victim + "FROM scratch\nCOPY --from=attacker /bin/sh /1\nCOPY --from=victim /bin/sh /2\n"); err != nil {
		p.oneLine(err.Error())
	}
	p.untouched()
}

func TestC09TwoThatUnpackTheSame(t *testing.T) {
	needsRun(t)
	p := newPlace(t)
	var entries []entry
	for i := range 500 {
		entries = append(entries, file(fmt.Sprintf("d/%d", i), fmt.Sprint(i)))
	}
	base := p.hub.base(tarOf(t, entries...))
	errs := make(chan error, 3)
	for i := range cap(errs) {
		go func() {
			_, err := p.try(fmt.Sprintf("FROM %s\nRUN test $(ls /d | wc -l) = 500 && test $(cat /d/499) = 499 && echo %d\n", base, i))
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
