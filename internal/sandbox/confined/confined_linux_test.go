package confined

import (
	"os"
	"strings"
	"testing"
)

func TestWhatIsLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to have rights that can be given up")
	}
	for script, want := range map[string]string{
		"grep CapEff /proc/self/status": "CapEff:\t00000000a80425fb\n",
		"unshare -m true":               "Operation not permitted",
		"unshare -U true":               "Operation not permitted",
		"mount -t tmpfs x /mnt":         "permission denied",
		"chroot / echo ok":              "ok\n",
	} {
		out, _ := Command("sh", []string{"-c", script}).CombinedOutput() // refused, mostly
		if !strings.Contains(string(out), want) {
			t.Errorf("%s: %s, want %s", script, out, want)
		}
	}
	out, _ := Command("sh", []string{"-c", "chroot / true"}, "CAP_SYS_CHROOT").CombinedOutput()
	if !strings.Contains(string(out), "not permitted") {
		t.Errorf("without CAP_SYS_CHROOT: %s", out)
	}
}
