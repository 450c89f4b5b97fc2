package sandbox

import (
	"slices"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
)

// What is mounted, and how: the flags that keep a step from what it finds there.
func TestFlagsOfMounts(t *testing.T) {
	source := t.TempDir()
	strict := "nosuid nodev noexec"
	want := map[string]string{
		"/": "nodev", "/proc": strict, "/sys": "ro " + strict, "/dev": "nosuid noexec", "/dev/pts": "nosuid noexec",
		"/dev/shm": strict, "/dev/mqueue": strict, "/etc/resolv.conf": "ro " + strict, "/etc/hosts": "ro " + strict,
		"/run/secrets/k": "ro " + strict, "/cache": "nosuid nodev", "/context": "ro nosuid nodev", "/t": "nosuid nodev",
		"/proc/bus": "ro", "/proc/fs": "ro", "/proc/irq": "ro", "/proc/sys": "ro", "/proc/sysrq-trigger": "ro",
	}
	look := func(t *testing.T, r *bundle.Runtime) {
		skipOwnKernel(t, r)
		im := newImage(t)
		spec := Spec{
			Args: []string{"cat", "/proc/self/mountinfo"}, ResolvConf: []byte("nameserver 1.2.3.4\n"), Hosts: HostsFile(""), Network: NetworkNone,
			Mounts: []Mount{secret("/run/secrets/k"), {Type: Bind, Source: source, Target: "/cache"},
				{Type: Bind, Source: source, Target: "/context", ReadOnly: true}, {Type: Tmpfs, Target: "/t"}},
		}
		got := map[string][]string{}
		for line := range strings.Lines(im.run(spec.by(t, r)).ok(t)) {
			f := strings.Fields(line)
			got[f[4]] = strings.Split(f[5], ",") // the last one is what is seen
		}
		for place, flags := range want {
			if got[place] == nil {
				if !strings.HasPrefix(place, "/proc/") { // not every kernel has those
					t.Errorf("nothing is mounted at %s", place)
				}
				continue
			}
			if place == "/" && r != nil && inUserNamespace() {
				continue // where the file system itself forbids devices; see the bundle's hook
			}
			for flag := range strings.FieldsSeq(flags) {
				if !slices.Contains(got[place], flag) {
					t.Errorf("%s is mounted without %s: %v", place, flag, got[place])
				}
			}
		}
	}
	t.Run("sandbox", func(t *testing.T) { look(t, nil) })
	through(t, look)
}
