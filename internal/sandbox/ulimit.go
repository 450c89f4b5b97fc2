package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Ulimit is a limit that each process of a step has (setrlimit(2)).
type Ulimit struct {
	Name       string // such as "nofile"
	Soft, Hard int64  // -1 is no limit
}

// resources are the numbers that Linux gives to the limits (getrlimit(2)); they
// are the same for all processors that this program is built for. That of
// address space ("as") is left out, as everywhere: who sets a step up needs more.
var resources = map[string]int{
	"core": 4, "cpu": 0, "data": 2, "fsize": 1, "locks": 10, "memlock": 8, "msgqueue": 12, "nice": 13,
	"nofile": 7, "nproc": 6, "rss": 5, "rtprio": 14, "rttime": 15, "sigpending": 11, "stack": 3,
}

// Validate refuses what is no limit.
func (u Ulimit) Validate() error {
	switch _, known := resources[u.Name]; {
	case !known:
		return fmt.Errorf("%q is not one of %s", u.Name, strings.Join(slices.Sorted(maps.Keys(resources)), ", "))
	case u.Soft < -1 || u.Hard < -1:
		return fmt.Errorf("%s: a limit must not be negative, but for -1, which is none", u.Name)
	case u.Hard >= 0 && (u.Soft == -1 || u.Soft > u.Hard):
		return fmt.Errorf("%s: the soft limit %d is above the hard one %d", u.Name, u.Soft, u.Hard)
	}
	return nil
}
