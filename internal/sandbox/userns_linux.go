package sandbox

import (
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownUsers gives the step a user namespace of its own in which every id is what
// it is here.
func ownUsers(attr *syscall.SysProcAttr) error {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	// What is forbidden here, in a user namespace with a single id, is so below.
	groups, err := os.ReadFile("/proc/self/setgroups")
	if err != nil {
		return fmt.Errorf("find out whether groups may be set: %w", err)
	}
	attr.GidMappingsEnableSetgroups = strings.TrimSpace(string(groups)) == "allow"
	if attr.UidMappings, err = sameIDs("/proc/self/uid_map"); err != nil {
		return err
	}
	attr.GidMappings, err = sameIDs("/proc/self/gid_map")
	return err
}

// sameIDs maps the ids that this process's user namespace has to themselves.
func sameIDs(file string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("find the ids that are mapped: %w", err)
	}
	var all []syscall.SysProcIDMap
	for line := range strings.Lines(string(data)) {
		var first, outside, count int64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err != nil {
			return nil, fmt.Errorf("find the ids that are mapped: %s: %q: %w", file, line, err)
		}
		if first > math.MaxInt {
			continue // there are none so high in images
		}
		size := int(min(count, math.MaxInt))
		all = append(all, syscall.SysProcIDMap{ContainerID: int(first), HostID: int(first), Size: size})
	}
	return all, nil
}
