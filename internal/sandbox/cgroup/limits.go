// Package cgroup gives a build step a control group of its own, where the
// kernel lets this process make one: beside or below its own in the unified
// hierarchy (v2), below its own in those of single controllers (v1).
//
// What was asked for is done or is an error. The default, a bound on processes,
// is left out where groups cannot be made.
package cgroup

import (
	"fmt"
	"strings"
)

// DefaultPids bounds the processes and threads of a step that says nothing.
const DefaultPids = 32768

// MinMemory is the least memory limit, in bytes: less does not even start a
// command.
const MinMemory = 6 << 20

// MinPids is the least bound on processes: setting a step up takes some.
const MinPids = 16

// Limits are those of a group. The zero value is the default one.
type Limits struct {
	Memory     int64 // bytes; 0 means no limit
	MemorySwap int64 // bytes of memory and swap together; 0 says nothing of swap, -1 no limit
	Pids       int64 // processes and threads; 0 means DefaultPids where that can be had, -1 no limit
	CPUShares  uint64
	CPUPeriod  uint64 // microseconds
	CPUQuota   int64  // microseconds in each period
	CPUs       string // list of processors, such as "0-2,5"
	MemNodes   string // list of memory nodes
	// Parent is the group, as a path from the root of the hierarchies, that the
	// step's is made in. Empty means this process's own.
	Parent string
}

// Validate refuses limits that cannot be meant.
func (l *Limits) Validate() error {
	switch {
	case l.Memory != 0 && l.Memory < MinMemory:
		return fmt.Errorf("memory limit %d: less than %d bytes is not enough for any command", l.Memory, MinMemory)
	case l.MemorySwap > 0 && l.Memory == 0:
		return fmt.Errorf("limit of memory and swap %d: there is none of memory", l.MemorySwap)
	case l.MemorySwap > 0 && l.MemorySwap < l.Memory:
		return fmt.Errorf("limit of memory and swap %d: it counts both, and that of memory is %d", l.MemorySwap, l.Memory)
	case l.MemorySwap < -1:
		return fmt.Errorf("limit of memory and swap %d: must be positive, or -1 for none", l.MemorySwap)
	case l.Pids < -1 || l.Pids > 0 && l.Pids < MinPids:
		return fmt.Errorf("limit of %d processes: must be at least %d, or -1 for none", l.Pids, MinPids)
	case l.CPUQuota < 0:
		return fmt.Errorf("limit of processor time %d: must be positive", l.CPUQuota)
	}
	return validateParent(l.Parent)
}

func validateParent(p string) error {
	switch {
	case strings.HasSuffix(p, ":"):
		return fmt.Errorf("cgroup parent %q: slices of systemd are not supported; name a path below /sys/fs/cgroup", p)
	case strings.ContainsAny(p, "\x00\n"):
		return fmt.Errorf("cgroup parent %q: it is no path", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." || part == "." {
			return fmt.Errorf("cgroup parent %q: it must not climb", p)
		}
	}
	return nil
}
