package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/reaper"
	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// warden is our end of a reaper, for a step without namespaces. A nil one is that
// of a step that has them.
type warden struct {
	control, status *os.File
}

// ChrootedSideBySide tells whether steps with Chroot may run at the same time: not
// where the kernel does not tell whose orphan a process is.
func ChrootedSideBySide() bool { return reaper.Adopts() }

// checkChroot refuses what cannot be had without namespaces, and what the caller
// has to do itself.
func (s *Spec) checkChroot() error {
	switch {
	case s.Network == NetworkNone:
		return errors.New("a step without a network cannot be had on isolation chroot: it needs a network namespace")
	case len(s.Mounts) > 0 || s.ResolvConf != nil || s.Hosts != nil || s.Emulators != nil || s.Owners:
		return errors.New("nothing can be mounted on isolation chroot")
	}
	return nil
}

// guarded starts a process with files for a reaper behind those of the stage.
func (k *keeper) guarded(attr *os.ProcAttr, start func() error) (err error) {
	controlR, controlW, err := pipe()
	if err != nil {
		return err
	}
	defer controlR.Close()
	statusR, statusW, err := pipe()
	if err != nil {
		controlW.Close()
		return err
	}
	defer statusW.Close()
	attr.Files = append(attr.Files, controlR, statusW)
	if k.hold != nil {
		attr.Files = append(attr.Files, k.hold)
	}
	if err := start(); err != nil {
		controlW.Close()
		statusR.Close()
		return err
	}
	w := &warden{control: controlW, status: statusR}
	k.p.send = w.send
	k.warden = w
	return nil
}

// send sends a signal to the command.
func (w *warden) send(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %v is none of this system", sig)
	}
	_, err := w.control.Write([]byte{byte(n)})
	if errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed) {
		return os.ErrProcessDone
	}
	return err
}

// ended returns the exit code of the command, once the reaper has ended.
func (w *warden) ended(state *os.ProcessState) (int, error) {
	defer w.control.Close()
	defer w.status.Close()
	data, err := io.ReadAll(w.status)
	if err != nil {
		return -1, err
	}
	n, err := strconv.ParseUint(string(data), 10, 32)
	if err != nil {
		return -1, fmt.Errorf("the keeper of the step's processes died (%v); some of them may be left", state)
	}
	return codeOf(syscall.WaitStatus(n)), nil
}

// firstProcess is what the first process is called.
func (k *keeper) firstProcess(stage string) string {
	if k.chroot {
		return reaper.Name
	}
	return stage
}

// mayElevate tells whether a step of another user than root needs its set-user-ID
// bits: there is a program whose purpose they are. Showing /proc takes them away.
func mayElevate(c *stage.Config) bool {
	if c.UID == 0 {
		return false
	}
	for _, name := range []string{"usr/bin/sudo", "usr/local/bin/sudo", "usr/bin/doas"} {
		if _, err := os.Lstat(filepath.Join(c.Rootfs, name)); err == nil {
			return true
		}
	}
	return false
}
