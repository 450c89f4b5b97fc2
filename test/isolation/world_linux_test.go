package isolation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/confined"
)

// worldName is argv[0] of the process that makes a world around itself.
const worldName = "ocibuild-test-world"

// world is what a builder finds around it, and is: the zero world is ours. It
// changes nothing of the machine.
type world struct {
	SubIDs   string // the path of a file that stands for /etc/subuid and /etc/subgid
	Writable string // the one folder that is; all else is read-only. Empty: nothing is different
	Sealed   bool   // not even that folder
	Docker   bool   // the rights of a container, as package confined gives them
	User     string // who it is, by name or number, if it is not who we are
	Bare     bool   // that user has no groups and can gain no rights
}

// command is exec.Command in that world.
func (w world) command(name string, args ...string) *exec.Cmd {
	if w == (world{}) {
		return exec.Command(name, args...)
	}
	about, err := json.Marshal(w)
	if err != nil {
		panic(err) // strings and bools can be told
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{worldName, string(about), name}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	return cmd
}

// enter makes this process a program in that world. It returns only when that
// did not work.
func (w world) enter(args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if w.SubIDs != "" {
		for _, at := range []string{"/etc/subuid", "/etc/subgid"} {
			if err := unix.Mount(w.SubIDs, at, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("show %s as %s: %w", w.SubIDs, at, err)
			}
		}
	}
	if w.Writable != "" {
		if err := w.freeze(); err != nil {
			return fmt.Errorf("make all read-only but %s: %w", w.Writable, err)
		}
	}
	if w.User != "" {
		become := []string{"setpriv", "--reuid", w.User, "--regid", w.User}
		if w.Bare {
			become = append(become, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")
		} else {
			become = append(become, "--init-groups")
		}
		args = append(become, args...)
	}
	if w.Docker {
		return confined.Exec(nil, args)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return unix.Exec(path, args, os.Environ())
}

// freeze makes every mount read-only, and the folder a mount that is not.
func (w world) freeze() error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, w.Writable, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	readOnly := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(-1, "/", unix.AT_RECURSIVE, readOnly); err != nil {
		return err
	}
	if !w.Sealed {
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, w.Writable, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return err
		}
	}
	return os.Chdir(w.Writable)
}
