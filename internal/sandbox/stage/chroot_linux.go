package stage

import (
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
	forgetBuilder()
	if !c.Interactive {
		if _, err := unix.Setsid(); err != nil {
			return fmt.Errorf("make a session: %w", err)
		}
	}
	raiseOOMScore()
	if err := confine(c.Profile); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the stage unreadable: %w", err)
	}
	if err := unix.Chroot(c.Rootfs); err != nil {
		return fmt.Errorf("change the root to %s: %w", c.Rootfs, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("go to the new root: %w", err)
	}
	if err := giveUpRights(c, chrootCapabilities, true); err != nil {
		return err
	}
	return execute(c)
}
