package stage

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	groups = "/sys/fs/cgroup"
	// UnifiedBeside is where the unified hierarchy stands beside others.
	UnifiedBeside = groups + "/unified"
)

// Capabilities are those of a step, as a mask.
const Capabilities = capabilities

// HookName is argv[0] of this program as a hook of a runtime. Its one argument
// is the root of the step.
const HookName = "ocibuild-no-devices"

// forbidDevices ends the process.
func forbidDevices(root string) {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(unix.AT_FDCWD, root, 0, &attr); err != nil {
		fmt.Fprintf(os.Stderr, "forbid devices in the root %s: %v\n", root, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Hidden are the paths that a step must not see, for a runtime.
func Hidden() ([]string, error) {
	more, err := thermalThrottle("/")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, list := range [][]string{hiddenFiles, more, hiddenDirs} {
		for _, name := range list {
			out = append(out, "/"+name)
		}
	}
	return out, nil
}

// Frozen are the paths that a step must not write to, for a runtime.
func Frozen() []string {
	var out []string
	for _, name := range frozen {
		out = append(out, "/"+name)
	}
	return out
}

// runRuntime builds the tree and becomes the runtime. As the first process of a
// namespace of processes it takes along, at its end, whatever it has started.
func runRuntime(c *Config) error {
	forgetBuilder()
	raiseOOMScore(stepScore)
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil { // of which the runtime's own is a copy
		return fmt.Errorf("make a namespace of names: %w", err)
	}
	if err := leaveDomain(); err != nil {
		return err
	}
	t, err := buildTree(c)
	if err != nil {
		return err
	}
	if err := t.findCommand(c); err != nil {
		return err
	}
	ownStdio(c.UID)
	if err := showMachine(c.Runtime); err != nil {
		return err
	}
	if err := shutFiles(); err != nil {
		return fmt.Errorf("close the builder's files: %w", err)
	}
	if err := report(Report{Ready: true}); err != nil {
		return err
	}
	resetSignals()
	return fmt.Errorf("execute %s: %w", c.Runtime.Args[0], unix.Exec(c.Runtime.Args[0], c.Runtime.Args, c.Runtime.Env))
}

// furnishForRuntime mounts what every step has and the runtime need not make,
// and makes the places for what it mounts: it must find them all, or it would
// make them itself and leave them in the image.
func (t *tree) furnishForRuntime(c *Config) error {
	// The runtime puts its own over it. Until then it keeps paths that lead
	// through it from being taken for files of the image.
	proc, err := newFS("proc", noSuidDevExec)
	if err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := t.attachBase(proc, "proc"); err != nil {
		return err
	}
	if err := t.mountDev(c); err != nil {
		return err
	}
	if c.Runtime.NeedTmp {
		tmp, err := t.ensure(Tmp, stubDir)
		if err != nil {
			return fmt.Errorf("make a place for %s: %w", Tmp, err)
		}
		unix.Close(tmp)
	}
	if c.Runtime.HostSys {
		return t.mountSys(c)
	}
	sys, err := t.basePlace("sys")
	if err != nil {
		return err
	}
	return unix.Close(sys)
}

// showMachine makes the runtime see the processes that it starts, and no more of
// the machine's control groups than it can work with. No mount of this
// namespace is seen by anybody else.
func showMachine(r *Runtime) error {
	proc, err := newFS("proc", noSuidDevExec)
	if err != nil {
		return fmt.Errorf("mount /proc for the runtime: %w", err)
	}
	defer unix.Close(proc)
	if err := attachAt(proc, unix.AT_FDCWD, "/proc"); err != nil {
		return fmt.Errorf("mount /proc for the runtime: %w", err)
	}
	if r.HideUnified {
		empty, err := newFS("tmpfs", noSuidDevExec|readOnly, "mode=755", "nr_inodes=1")
		if err != nil {
			return fmt.Errorf("hide %s from the runtime: %w", UnifiedBeside, err)
		}
		defer unix.Close(empty)
		if err := attachAt(empty, unix.AT_FDCWD, UnifiedBeside); err != nil {
			return fmt.Errorf("hide %s from the runtime: %w", UnifiedBeside, err)
		}
	}
	if !r.FreezeGroups {
		return nil
	}
	attr := unix.MountAttr{Attr_set: readOnly}
	err = unix.MountSetattr(unix.AT_FDCWD, groups, unix.AT_RECURSIVE, &attr)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // EINVAL: nothing is mounted there
		return fmt.Errorf("keep the runtime from making control groups: %w", err)
	}
	return nil
}
