package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
)

// startChroot starts a worker that needs no more than root of a container has. A
// step could look into the memory of other processes of root that allow it, so
// this one does not any more.
func startChroot(ctx context.Context, o Options) (*Client, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("it takes root")
	}
	if err := needs(unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT"); err != nil {
		return nil, err
	}
	p, c, err := spawn(o, &syscall.SysProcAttr{})
	if err != nil {
		return nil, err
	}
	client, err := greet(ctx, newClient(o, c, p), IsolationChroot)
	if err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("hide the builder's memory: %w", err), client.Close())
	}
	return client, nil
}

// needs tells whether this process has a capability.
func needs(number int, name string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	if data[number/32].Effective&(1<<(number%32)) == 0 {
		return fmt.Errorf("%s is missing", name)
	}
	return nil
}

func chrootRungHint(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "is missing"):
		return "; in a Kubernetes pod, add SYS_CHROOT to securityContext.capabilities"
	case strings.Contains(text, "make /dev/") && strings.Contains(text, unix.EPERM.Error()):
		if needs(unix.CAP_MKNOD, "") == nil { // as inside gVisor
			return "; the store's file system takes no devices: put the store on a tmpfs or another volume"
		}
		return "; it takes CAP_MKNOD: in a Kubernetes pod, add MKNOD to securityContext.capabilities"
	case strings.Contains(text, "open /dev/null"):
		return "; the store's file system does not allow devices (nodev): put the store on another one"
	case strings.Contains(text, "not executable"):
		return "; the store's file system does not allow programs (noexec): put the store on another one"
	}
	return ""
}

// openWholes opens the trees of rung chroot and shows that steps run in them.
func (s *server) openWholes(g *greeting) error {
	m, err := s.openFlat(g)
	if err != nil {
		return err
	}
	s.wholes = m
	if err := s.tryChrooted(context.Background(), runtime.GOARCH); err != nil {
		return errors.Join(err, m.Close())
	}
	return nil
}

// tryChrooted runs a program of an architecture as a step does.
func (s *server) tryChrooted(ctx context.Context, arch string) error {
	t, err := s.wholes.Prepare(ctx, nil)
	if err != nil {
		return err
	}
	err = s.tryIn(ctx, t, binfmt.Program(arch))
	return errors.Join(err, t.Close())
}

// registered tells whether the machine itself runs programs of an architecture:
// emulators for the step alone cannot be had on rung chroot.
func (s *server) registered(ctx context.Context, arch string) error {
	err := s.tryChrooted(ctx, arch)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("programs for %s do not run on this %s machine, and isolation chroot cannot be given an emulator for the step alone; root of the machine can register one, with flag F, as systemd-binfmt does",
		arch, runtime.GOARCH)
}

func (s *server) tryIn(ctx context.Context, t *kept.Tree, program []byte) error {
	const name = "/program"
	if err := os.WriteFile(filepath.Join(t.Root(), name), program, 0o700); err != nil {
		return err
	}
	a := &attacher{s: s}
	if err := (&furnisher{attacher: a, tree: t}).furnish(); err != nil {
		return err
	}
	null, err := os.OpenFile(filepath.Join(t.Root(), "dev/null"), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null of a step: %w", errors.Unwrap(err))
	}
	null.Close()
	spec := &sandbox.Spec{Rootfs: t.Root(), Args: []string{name}, Chroot: true, Hold: s.temp.Lock}
	p, err := sandbox.Start(ctx, spec, sandbox.Stdio{})
	if err != nil {
		return err
	}
	code, err := p.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("a program that does nothing ends with status %d", code)
	}
	return errors.Join(err, a.detach())
}
