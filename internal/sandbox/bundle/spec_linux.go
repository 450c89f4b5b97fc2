package bundle

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/seccomp"
	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// version is an old one: runtimes refuse a newer one than they know.
const version = "1.0.2"

// translate says a step as the specification of runtimes does. hostSys tells
// that /sys must be the host's, which the stage has to bring along.
func translate(c *stage.Config) (spec *specs.Spec, hostSys bool, err error) {
	if hostSys, err = needsHostSys(c); err != nil {
		return nil, false, err
	}
	process, err := processOf(c)
	if err != nil {
		return nil, false, err
	}
	linux := &specs.Linux{Namespaces: []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
	}}
	if c.Loopback {
		linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	if c.Profile != nil {
		linux.MountLabel = c.Profile.Files
	}
	if !c.Insecure {
		if linux.MaskedPaths, err = stage.Hidden(); err != nil {
			return nil, false, err
		}
		linux.ReadonlyPaths = stage.Frozen()
		if linux.Seccomp, err = seccomp.Profile(Names(stage.Capabilities)); err != nil {
			return nil, false, err
		}
	}
	return &specs.Spec{
		Version: version, Hostname: c.Hostname, Process: process, Linux: linux,
		// Read-only already, but crun takes all flags from the mount of the root.
		Root: &specs.Root{Path: c.Rootfs, Readonly: c.ReadOnlyRoot}, Mounts: mounts(c, hostSys),
	}, hostSys, nil
}

// mounts are those that the stage cannot make for the process of the step.
func mounts(c *stage.Config, hostSys bool) []specs.Mount {
	strict := []string{"nosuid", "nodev", "noexec"}
	sysOptions := strict
	if !c.Insecure {
		sysOptions = append(slices.Clone(strict), "ro")
	}
	all := []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc", Options: strict}}
	if !hostSys {
		all = append(all, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sysOptions})
		if stage.Unified() {
			all = append(all, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: sysOptions})
		}
	}
	return append(all,
		// As the stage has made it. Without the mount the runtime would make another.
		specs.Mount{Destination: "/dev", Type: "bind", Source: path.Join(c.Rootfs, "dev"), Options: []string{"rbind", "nosuid", "noexec"}},
		// Of the step's own namespace.
		specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: strict})
}

// needsHostSys finds out whether the step cannot have a /sys of its own: that
// takes rights over its network.
func needsHostSys(c *stage.Config) (bool, error) {
	if c.Loopback {
		return false, nil // the network is the step's own
	}
	fd, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.EPERM) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("mount /sys: %w", err)
	}
	return false, unix.Close(fd)
}

func processOf(c *stage.Config) (*specs.Process, error) {
	capabilities, err := capabilitiesOf(c)
	if err != nil {
		return nil, err
	}
	limits, err := limitsOf(c)
	if err != nil {
		return nil, err
	}
	umask := uint32(0o022)
	p := &specs.Process{
		Args: c.Args, Env: withPath(c.Env), Cwd: c.Cwd,
		User:         specs.User{UID: c.UID, GID: c.GID, AdditionalGids: c.Groups, Umask: &umask},
		Capabilities: capabilities, Rlimits: limits,
		// No OOMScoreAdj: the runtime itself has the score, and gives it to the step. With
		// one, gVisor's also sets that of helpers, which may be gone when a step is short.
	}
	switch {
	case c.Profile == nil:
	case c.Profile.Files != "":
		p.SelinuxLabel = c.Profile.Name
	default:
		p.ApparmorProfile = c.Profile.Name
	}
	return p, nil
}

// withPath makes sure that there is a PATH: runtimes find nothing without one.
func withPath(env []string) []string {
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		return env
	}
	return append(slices.Clone(env), "PATH="+stage.DefaultPath)
}

// limitsOf are those that every step has, and its own in their place.
func limitsOf(c *stage.Config) ([]specs.POSIXRlimit, error) {
	var files unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &files); err != nil {
		return nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	soft, hard := stage.Files(files.Max)
	all := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: soft, Hard: hard}, {Type: "RLIMIT_CORE"}}
	for _, l := range c.Rlimits {
		own := specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(l.Name), Soft: l.Soft, Hard: l.Hard}
		all = slices.DeleteFunc(all, func(o specs.POSIXRlimit) bool { return o.Type == own.Type })
		all = append(all, own)
	}
	return all, nil
}
