package sandbox

import (
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func readAll(r io.Reader) (string, error) {
	data, err := io.ReadAll(r)
	return string(data), err
}

func TestInsecure(t *testing.T) {
	needIDs(t)
	im := newImage(t)
	own, err := os.ReadFile("/proc/self/status")
	must(t, err)
	all := status(string(own), "CapPrm")
	for _, user := range []string{"", "app"} {
		out := im.run(Spec{Args: []string{"cat", "/proc/self/status"}, User: user, Insecure: true}).ok(t)
		for _, set := range []string{"CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"} {
			if got := status(out, set); got != all {
				t.Errorf("user %q: %s is %s, the caller has %s", user, set, got, all)
			}
		}
		if got := status(out, "Seccomp"); got != "0" && !owners() {
			t.Errorf("user %q: seccomp %s", user, got)
		}
	}
	script := `mkdir /t && mount -t tmpfs none /t && echo mounted
grep -q ' /proc/sys ' /proc/mounts && echo frozen
grep -q ' /sys sysfs rw' /proc/mounts && echo sys writable
true`
	want := "mounted\nsys writable\n"
	if out := im.run(Spec{Args: []string{"sh", "-c", script}, Insecure: true}).ok(t); out != want {
		t.Errorf("%q, want %q", out, want)
	}
	if out := im.sh(script + " 2>/dev/null").out; strings.Contains(out, "mounted") || strings.Contains(out, "writable") || !strings.Contains(out, "frozen") {
		t.Errorf("without: %q", out)
	}
}

func TestInsecureDevices(t *testing.T) {
	im := newImage(t)
	script := `for d in fuse kmsg net/tun; do test -c /dev/$d && echo $d; done; test -b /dev/loop7 && echo loop
mknod /x c 1 3 2>/dev/null && echo x >/x && echo own; true`
	want := "fuse\nkmsg\nnet/tun\nloop\nown\n"
	if inUserNamespace() {
		want = "" // no device can be made there
	}
	if owners() {
		want = "own\n" // an empty file that stands for one
	}
	if out := im.run(Spec{Args: []string{"sh", "-c", script}, Insecure: true}).ok(t); out != want {
		t.Errorf("%q, want %q", out, want)
	}
	if out := im.sh(script).ok(t); out != "" && !owners() {
		t.Errorf("without: %q", out)
	}
	var st unix.Stat_t
	if unix.Lstat("/dev/loop0", &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFBLK {
		t.Error("the host's /dev was touched")
	}
}

// status returns a field of /proc/PID/status.
func status(text, field string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
