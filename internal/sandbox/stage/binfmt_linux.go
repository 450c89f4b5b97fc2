package stage

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// mountBinfmt registers emulators in a binfmt_misc of this user namespace's own,
// which takes the place of the host's. It has to stay mounted for as long as the
// step runs, and does so where protect is about to cover it.
func (t *tree) mountBinfmt(emulators []Emulator) error {
	if len(emulators) == 0 {
		return nil
	}
	mount, err := newFS("binfmt_misc", noSuidDevExec)
	if err != nil {
		return fmt.Errorf("mount binfmt_misc in a user namespace, as Linux 6.7 can: %w", err)
	}
	defer unix.Close(mount)
	for i := range emulators {
		if err := register(mount, &emulators[i]); err != nil {
			return fmt.Errorf("register %s in binfmt_misc: %w", emulators[i].File, err)
		}
	}
	if err := attachAt(mount, t.root.FD(), "proc/sys/fs/binfmt_misc"); err != nil {
		return fmt.Errorf("keep binfmt_misc: %w", err)
	}
	return nil
}

// register makes the kernel open the emulator now (F), so that the step's files
// need not have it, and on a mount of its own that is read-only: a step can get
// hold of the file that it runs in. A program keeps its name (P) and gets the
// rights that its own file gives it (C), as without an emulator.
func register(mount int, e *Emulator) error {
	file, err := clone(unix.AT_FDCWD, e.File, 0)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	if err := setAttrs(file, readOnly, false); err != nil {
		return err
	}
	fd, err := unix.Openat(mount, "register", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(e.Rule+"/proc/self/fd/"+strconv.Itoa(file)+":CFP"))
	return err
}
