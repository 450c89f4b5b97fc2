package stage

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A step that cannot be confined as it is to be does not run.
func TestProfileThatCannotBeHad(t *testing.T) {
	if err := confine(nil); err != nil {
		t.Error(err)
	}
	err := confine(&Profile{Name: "ours", Attr: "no-such-file", Text: "exec ours"})
	if !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), "confine the step as ours: ") {
		t.Errorf("%v", err)
	}
	// Without a module that heeds it the kernel refuses the write, and with one the name.
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: what was said is said of this thread
		done <- confine(&Profile{Name: "ours", Attr: "exec", Text: "exec ocibuild-has-no-such-profile"})
	}()
	if err := <-done; err == nil {
		t.Error("a profile that nobody has loaded is taken")
	}
}

func TestProcIsLookedAt(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting over /proc takes root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: the mounts are this thread's
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
				return err
			}
			if err := os.MkdirAll("/proc/thread-self/attr", 0o755); err != nil {
				return err
			}
			if err := os.WriteFile("/proc/thread-self/attr/exec", nil, 0o666); err != nil {
				return err
			}
			return confine(&Profile{Name: "ours", Attr: "exec", Text: "exec ours"})
		}()
	}()
	if err := <-done; err == nil || err.Error() != "confine the step as ours: /proc is another file system" {
		t.Errorf("%v", err)
	}
}

func TestLabelOfFileSystems(t *testing.T) {
	c := &Config{}
	if got := strings.Join(c.labelled("mode=755"), " "); got != "mode=755" {
		t.Error(got)
	}
	c.Profile = &Profile{Files: "u:r:t:s0"}
	if got := strings.Join(c.labelled("mode=755"), " "); got != "mode=755 context=u:r:t:s0" {
		t.Error(got)
	}
}
