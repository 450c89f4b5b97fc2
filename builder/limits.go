package builder

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ocibuild/ocibuild/internal/frontend"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
)

// What Options.Allow may hold.
const (
	AllowInsecure    = "security.insecure" // RUN --security=insecure: a step may do what this user may
	AllowHostNetwork = "network.host"      // RUN --network=host; it needs no permission, since it is the default
	AllowDevice      = "device"            // RUN --device, also "device=NAME"; there are none yet
)

// Ulimit is a limit that each process of RUN has, as of setrlimit(2): "nofile",
// "nproc" and so on. -1 is no limit.
type Ulimit = sandbox.Ulimit

// ExtraHost is a line of /etc/hosts.
type ExtraHost struct{ Name, IP string }

// Limits bound what one RUN takes of the machine. Zero leaves the default. Only
// Ulimits, ShmSize and CgroupParent are part of cache keys, as with BuildKit.
type Limits struct {
	Ulimits []Ulimit
	ShmSize int64 // of /dev/shm in bytes; 0 means 64 MiB
	// Memory is for all processes of the step together, in bytes.
	Memory int64
	// Pids is how many processes and threads there may be; 0 means 32768 where
	// this user may make control groups, -1 no limit.
	Pids int64
	// CgroupParent is the control group that those of the steps are made in, as a
	// path below /sys/fs/cgroup; empty means this process's own.
	CgroupParent string
}

func (o *Options) validateRun() error {
	for _, a := range o.Allow {
		name, _, _ := strings.Cut(a, "=")
		if !slices.Contains([]string{AllowInsecure, AllowHostNetwork}, a) && name != AllowDevice {
			return &OptionError{"allow", fmt.Sprintf("%q is not one of %s, %s, %s", a, AllowDevice, AllowHostNetwork, AllowInsecure)}
		}
	}
	for _, h := range o.ExtraHosts {
		if err := h.validate(); err != nil {
			return &OptionError{"add-host", err.Error()}
		}
	}
	for _, u := range o.Limits.Ulimits {
		if err := u.Validate(); err != nil {
			return &OptionError{"ulimit", err.Error()}
		}
	}
	if o.Limits.ShmSize < 0 {
		return &OptionError{"shm-size", fmt.Sprintf("%d is not a size", o.Limits.ShmSize)}
	}
	l := cgroup.Limits{Memory: o.Limits.Memory, Pids: o.Limits.Pids, Parent: o.Limits.CgroupParent}
	if err := l.Validate(); err != nil {
		return &OptionError{"limits", err.Error()}
	}
	return nil
}

// forDockerfile tells whether there are limits that graphs have their own of.
func (l *Limits) forDockerfile() bool {
	return len(l.Ulimits) > 0 || l.ShmSize != 0 || l.Memory != 0 || l.CgroupParent != ""
}

func (h ExtraHost) validate() error {
	if h.Name == "" || strings.ContainsAny(h.Name, "=, \t\n\"#") {
		return fmt.Errorf("%q is not the name of a host", h.Name)
	}
	if h.IP == "host-gateway" {
		return fmt.Errorf("%s:host-gateway: steps have no gateway to this machine, they share its network; 127.0.0.1 is this machine", h.Name)
	}
	if _, err := netip.ParseAddr(h.IP); err != nil {
		return fmt.Errorf("%s: %q is not an IP address", h.Name, h.IP)
	}
	return nil
}

// run is what every RUN is given, as the frontend wants it.
func (o *Options) run() frontend.Run {
	r := frontend.Run{ShmSize: o.Limits.ShmSize, Memory: o.Limits.Memory, CgroupParent: o.Limits.CgroupParent}
	for _, h := range o.ExtraHosts {
		r.ExtraHosts = append(r.ExtraHosts, h.Name+"="+h.IP)
	}
	for _, u := range o.Limits.Ulimits {
		r.Ulimits = append(r.Ulimits, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	return r
}
