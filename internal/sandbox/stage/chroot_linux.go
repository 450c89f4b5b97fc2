package stage

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
)

// showProc makes the reaper answer calls on /proc. A container whose kernel or whose
// own supervisor does not allow it has steps without. Where the rights are missing
// to do it otherwise, set-user-ID bits have no effect from here on.
func showProc(filter []byte) {
	defer unix.Close(ownersFD)
	if len(filter) == 0 {
		return
	}
	listener, err := notify.Install(filter)
	if err != nil && errRights(err) && unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == nil {
		listener, err = notify.Install(filter)
	}
	if err != nil {
		return
	}
	defer unix.Close(listener)
	_ = notify.Send(ownersFD, listener) // with nobody to answer, calls fail, and the reaper is dead
}

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
	raiseOOMScore(chrootScore)
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
	showProc(c.Proc)
	if err := giveUpRights(c, chrootCapabilities, true); err != nil {
		return err
	}
	return execute(c)
}
