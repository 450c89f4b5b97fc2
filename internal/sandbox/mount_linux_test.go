package sandbox

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func etc(args ...string) Spec {
	return Spec{Args: args, ResolvConf: []byte("nameserver 192.0.2.1\n"), Hosts: []byte("192.0.2.2 here\n")}
}

func secret(target string) Mount {
	return Mount{Type: File, Target: target, Data: []byte("s3cret"), ReadOnly: true}
}

// What was made for mounts is gone afterwards, and no time has changed.
func TestMountPointsVanish(t *testing.T) {
	for name, c := range map[string]struct {
		script  string
		changes func(l string)
		left    []string // in the upper directory
	}{
		"nothing done": {script: "cat /run/secrets/a/b /etc/resolv.conf /etc/hosts"},
		"no etc": {
			script:  "cat /etc/hosts",
			changes: func(l string) { must(t, os.RemoveAll(l+"/etc")) },
		},
		"image has all": {
			script: "cat /etc/hosts",
			changes: func(l string) {
				for _, d := range []string{"/proc", "/sys", "/dev", "/run/secrets/a"} {
					must(t, os.MkdirAll(l+d, 0o755))
				}
				must(t, os.WriteFile(l+"/etc/hosts", []byte("mine"), 0o600))
				must(t, os.WriteFile(l+"/etc/resolv.conf", nil, 0o600))
			},
		},
		"directory filled": {
			script: "echo x > /run/secrets/mine",
			left:   []string{"/run", "/run/secrets", "/run/secrets/mine"},
		},
		"directory changed": {
			script: "echo x > /etc/mine",
			left:   []string{"/etc", "/etc/mine"},
		},
		"dangling link": {
			script: "grep -q 192.0.2.1 /etc/resolv.conf && cat /run/systemd/resolv.conf",
			changes: func(l string) {
				must(t, os.Symlink("../../run/systemd/resolv.conf", l+"/etc/resolv.conf"))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			im := newImage(t, func(l string) {
				if c.changes != nil {
					c.changes(l)
				}
			})
			s := etc("sh", "-c", c.script)
			s.Mounts = []Mount{secret("/run/secrets/a/b"), {Type: Tmpfs, Target: "/tmp"}, {Type: Tmpfs, Target: "/new/dir"}}
			im.run(s).ok(t)
			if diff := cmp.Diff(c.left, im.changed()); diff != "" {
				t.Errorf("left in the layer: %s", diff)
			}
		})
	}
}

// A directory that the step changed keeps the step's time, not the image's
// and not the time of cleaning up.
func TestTimesOfTheStepStay(t *testing.T) {
	im := newImage(t)
	s := etc("sh", "-c", "stat -c %Y / /etc; echo x > /etc/x; touch -d @1200000000 /etc")
	if out := im.run(s).ok(t); out != "1100000000\n1100000000\n" {
		t.Errorf("times that the step sees: %q", out)
	}
	var st unix.Stat_t
	must(t, unix.Stat(im.root+"/etc", &st))
	if st.Mtim.Sec != 1200000000 {
		t.Errorf("time of /etc is %d", st.Mtim.Sec)
	}
	must(t, unix.Stat(im.root, &st))
	if st.Mtim.Sec != 1100000000 || st.Mtim.Nsec != 7 || st.Atim.Nsec != 5 {
		t.Errorf("times of / are %v, %v", st.Atim, st.Mtim)
	}
}

// A step that moves a mount point and puts a link in its place must not lead
// the cleaning astray.
func TestCleaningStaysInside(t *testing.T) {
	host := t.TempDir()
	must(t, os.WriteFile(host+"/victim", nil, 0o644))
	must(t, os.Mkdir(host+"/dir", 0o755))
	im := newImage(t)
	s := Spec{Args: []string{"sh", "-c", "mv /a /b && ln -s " + host + " /a && ln -s " + host + " /tmp/a"}}
	s.Mounts = []Mount{secret("/a/victim"), {Type: Tmpfs, Target: "/a/dir"}}
	im.run(s).ok(t)
	for _, name := range []string{"/victim", "/dir"} {
		if _, err := os.Stat(host + name); err != nil {
			t.Error(err)
		}
	}
}

func TestLinksInTheImageStayInside(t *testing.T) {
	host := t.TempDir()
	must(t, os.WriteFile(host+"/resolv.conf", []byte("host"), 0o644))
	im := newImage(t, func(l string) {
		must(t, os.Symlink(host+"/resolv.conf", l+"/etc/resolv.conf"))
		must(t, os.Symlink("../../../../.."+host+"/new", l+"/etc/hosts"))
		must(t, os.Symlink(host, l+"/outside"))
	})
	s := etc("sh", "-c", "cat /etc/resolv.conf /etc/hosts /outside/s/k; echo; pwd")
	s.Mounts, s.Cwd = []Mount{secret("/outside/s/k")}, "/outside/work"
	want := "nameserver 192.0.2.1\n192.0.2.2 here\ns3cret\n" + host + "/work\n"
	if out := im.run(s).ok(t); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	entries, err := os.ReadDir(host)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("made on the host: %v", entries)
	}
}

func TestOddBaseDirectories(t *testing.T) {
	for _, name := range []string{"proc", "sys", "dev"} {
		for kind, change := range map[string]func(l string){
			"link to a directory": func(l string) { must(t, os.Symlink("/tmp", l+"/"+name)) },
			"link to nothing":     func(l string) { must(t, os.Symlink("/nowhere", l+"/"+name)) },
			"link to the root":    func(l string) { must(t, os.Symlink("..", l+"/"+name)) },
			"file":                func(l string) { must(t, os.WriteFile(l+"/"+name, nil, 0o644)) },
		} {
			r := newImage(t, change).run(Spec{Args: []string{"true"}})
			want := "/" + name + " of the image must be a directory, not a symbolic link or a file"
			if r.start == nil || !strings.Contains(r.start.Error(), want) {
				t.Errorf("%s as /%s: start %v, code %d", kind, name, r.start, r.code)
			}
		}
	}
	// What an image has inside of /dev does not matter.
	im := newImage(t, func(l string) {
		must(t, os.Mkdir(l+"/dev", 0o755))
		must(t, os.Symlink("/proc/sys/kernel/core_pattern", l+"/dev/null"))
		must(t, os.Symlink("/etc", l+"/dev/pts"))
		must(t, os.Mkdir(l+"/dev/fd", 0o755))
	})
	im.sh("[ -c /dev/null ] && [ -L /dev/fd ] && [ ! -e /dev/pts/passwd ]").ok(t)
}

func TestMountsThroughLinksToReserved(t *testing.T) {
	im := newImage(t, func(l string) {
		must(t, os.Symlink("/proc", l+"/p"))
		must(t, os.Symlink("/", l+"/r"))
		must(t, os.Symlink("/proc/sys/kernel/core_pattern", l+"/etc/resolv.conf"))
	})
	for _, target := range []string{"/p", "/p/sys", "/r", "/r/dev", "/tmp/../r/sys/kernel"} {
		r := im.run(Spec{Args: []string{"true"}, Mounts: []Mount{{Type: Tmpfs, Target: target}}})
		if r.start == nil || !strings.Contains(r.start.Error(), "nothing may be mounted") {
			t.Errorf("%s: %v", target, r.start)
		}
	}
	im.run(etc("true")).ok(t)
}

func TestMounts(t *testing.T) {
	host := t.TempDir()
	must(t, os.Chmod(host, 0o755))
	must(t, os.WriteFile(host+"/f", []byte("from the host\n"), 0o644))
	im := newImage(t)
	for name, c := range map[string]struct {
		mount Mount
		sh    string
		want  string
	}{
		"secret":            {secret("/run/secrets/k"), "cat /run/secrets/k; stat -c ' %a %u %g %h' /run/secrets/k; echo x > /run/secrets/k || echo ro", "s3cret 400 0 0 1\nro\n"},
		"writable file":     {Mount{Type: File, Target: "/f", Data: []byte("a\n"), Mode: 0o640}, "echo b >> /f; cat /f; stat -c %a /f", "a\nb\n640\n"},
		"large file":        {Mount{Type: File, Target: "/f", Data: make([]byte, 300<<10)}, "stat -c %s /f", "307200\n"},
		"bind":              {Mount{Type: Bind, Source: host, Target: "/m"}, "cat /m/f; touch /m/new && rm /m/new", "from the host\n"},
		"bind read-only":    {Mount{Type: Bind, Source: host, Target: "/m", ReadOnly: true}, "cat /m/f; touch /m/new || echo ro", "from the host\nro\n"},
		"bind of a file":    {Mount{Type: Bind, Source: host + "/f", Target: "/etc/f"}, "cat /etc/f", "from the host\n"},
		"tmpfs":             {Mount{Type: Tmpfs, Target: "/t", Size: 8192}, "stat -c %a /t; head -c 20000 /dev/zero > /t/x || echo full", "1777\nfull\n"},
		"tmpfs with a mode": {Mount{Type: Tmpfs, Target: "/t", Mode: 0o750}, "stat -c %a /t", "750\n"},
		"shm":               {Mount{Type: Tmpfs, Target: "/dev/shm", Mode: 0o700}, "stat -c %a /dev/shm", "700\n"},
		"device":            {Mount{Type: Bind, Source: host, Target: "/dev/host"}, "cat /dev/host/f", "from the host\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := im.run(Spec{Args: []string{"sh", "-c", "exec 2>/dev/null; " + c.sh}, Mounts: []Mount{c.mount}})
			if out := r.ok(t); out != c.want {
				t.Errorf("got %q, want %q", out, c.want)
			}
		})
	}
	r := im.run(Spec{Args: []string{"true"}, Mounts: []Mount{{Type: Bind, Source: host, Target: "/etc/passwd"}}})
	if r.start == nil || !strings.Contains(r.start.Error(), "mount bind at /etc/passwd: not a directory") {
		t.Errorf("a directory over a file: %v", r.start)
	}
}

// A mount inside of another one: its mount point belongs to the outer one.
func TestNestedMounts(t *testing.T) {
	host := t.TempDir()
	im := newImage(t)
	s := Spec{Args: []string{"sh", "-c", "cat /run/a/k; ls /c"}, Mounts: []Mount{
		{Type: Tmpfs, Target: "/run"}, secret("/run/a/k"), {Type: Bind, Source: host, Target: "/c"}, {Type: Tmpfs, Target: "/c/in"},
	}}
	if out := im.run(s).ok(t); out != "s3cretin\n" {
		t.Errorf("got %q", out)
	}
	if left := im.changed(); len(left) != 0 {
		t.Errorf("left in the layer: %v", left)
	}
}

func TestNothingOfTheHostIsMounted(t *testing.T) {
	im := newImage(t)
	out := im.run(etc("cat", "/proc/self/mountinfo")).ok(t)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); !strings.HasPrefix(f[4], "/proc") && !strings.HasPrefix(f[4], "/sys") && !strings.HasPrefix(f[4], "/dev") && f[4] != "/" && f[4] != "/etc/hosts" && f[4] != "/etc/resolv.conf" {
			t.Errorf("mounted: %s", line)
		}
		if strings.Contains(line, "shared:") || strings.Contains(line, "master:") {
			t.Errorf("propagates: %s", line)
		}
	}
}
