package stage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
)

// Hidden: they tell about, or reach into, the host. The list is Docker's.
var (
	hiddenFiles = notify.HiddenFiles
	hiddenDirs  = slices.Concat(notify.HiddenSys, notify.HiddenDirs)
	// Where hosts mount other file systems in /sys.
	mountedDirs = []string{
		"sys/fs/bpf", "sys/fs/fuse/connections", "sys/fs/pstore", "sys/fs/resctrl", "sys/fs/selinux",
		"sys/kernel/config", "sys/kernel/debug", "sys/kernel/security", "sys/kernel/tracing",
	}
	frozen = []string{"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"}
)

// protect hides and freezes parts of /proc and /sys. The working directory is
// the new root, whose /proc, /sys and /dev are ours and still untouched.
func protect(c *Config) error {
	for _, name := range hiddenFiles {
		if err := unix.Mount("dev/null", name, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("hide /%s: %w", name, err)
		}
	}
	more, err := thermalThrottle("")
	if err != nil {
		return err
	}
	if len(c.Emulators) > 0 { // its /sys is the host's own, and its root may be the host's, too
		more = append(more, mountedDirs...)
	}
	if err := hideDirs(append(more, hiddenDirs...)); err != nil {
		return err
	}
	for _, name := range frozen {
		if err := freeze(name); err != nil {
			return fmt.Errorf("make /%s read-only: %w", name, err)
		}
	}
	return nil
}

// hideDirs covers all directories with one empty file system.
func hideDirs(names []string) error {
	empty, first := -1, ""
	for _, name := range names {
		if first != "" {
			if err := unix.Mount(first, name, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("hide /%s: %w", name, err)
			}
			continue
		}
		if empty < 0 {
			var err error
			if empty, err = newFS("tmpfs", noSuidDevExec|readOnly, "mode=755", "nr_inodes=1"); err != nil {
				return fmt.Errorf("hide /%s: %w", name, err)
			}
			defer unix.Close(empty)
		}
		err := attachAt(empty, unix.AT_FDCWD, name)
		if err == nil {
			first = name
		} else if !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("hide /%s: %w", name, err)
		}
	}
	return nil
}

func freeze(name string) error {
	err := unix.Mount(name, name, "", unix.MS_BIND, "")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return unix.Mount("", name, "", flags, "")
}

// thermalThrottle lists the directories that count how often a processor ran
// hot, a side channel. Virtual machines have none, and then one look is enough.
func thermalThrottle(root string) ([]string, error) {
	const cpus = "sys/devices/system/cpu"
	if _, err := os.Lstat(root + cpus + "/cpu0/thermal_throttle"); err != nil {
		return nil, nil
	}
	entries, err := os.ReadDir(root + cpus)
	if err != nil {
		return nil, fmt.Errorf("hide the thermal counters: %w", err)
	}
	var names []string
	for _, e := range entries {
		number := strings.TrimPrefix(e.Name(), "cpu")
		if number != e.Name() && strings.Trim(number, "0123456789") == "" {
			names = append(names, cpus+"/"+e.Name()+"/thermal_throttle")
		}
	}
	return names, nil
}
