package stage

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// chrootCapabilities are those that a command needs to build images and that do
// not lead out of a changed root or to devices.
const chrootCapabilities = capabilities &^ (1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_MKNOD | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_RAW)

// runChrooted is run without namespaces: the tree is furnished already, and all
// that is left is to go there with fewer rights.
func runChrooted() error {
	c, err := readConfig()
	if err != nil {
		return err
	}
	unix.Umask(0o022)
	if !c.Interactive {
		if _, err := unix.Setsid(); err != nil {
			return fmt.Errorf("make a session: %w", err)
		}
	}
	raiseOOMScore()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the stage unreadable: %w", err)
	}
	if err := unix.Chroot(c.Rootfs); err != nil {
		return fmt.Errorf("change the root to %s: %w", c.Rootfs, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("go to the new root: %w", err)
	}
	if err := giveUpRights(c); err != nil {
		return err
	}
	return execute(c)
}

func giveUpRights(c *Config) error {
	ownStdio(c.UID)
	if err := setLimits(c.Rlimits); err != nil {
		return err
	}
	keep := chrootCapabilities
	if c.Insecure {
		keep = ^uint64(0)
	}
	// A container without CAP_SYS_ADMIN has a filter of its own, under which the
	// command is as well.
	if err := installFilter(c.Seccomp); err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return err
	}
	// Without CAP_SETPCAP nothing can be dropped for good: programs that root
	// executes have the rest again. They have no more than the builder has.
	if err := dropBounding(keep); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	if c.Insecure { // or another user than root would lose them all
		if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("keep the capabilities: %w", err)
		}
	}
	if err := setIDs(c); err != nil {
		return err
	}
	if c.UID != 0 && !c.Insecure {
		keep = 0
	}
	return setCapabilities(keep, c.Insecure)
}
