package sandbox

import (
	"fmt"

	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// rlimits says limits in the stage's words. -1 becomes the largest number, which
// is the kernel's word for none.
func rlimits(list []Ulimit) ([]stage.Rlimit, error) {
	var out []stage.Rlimit
	for _, u := range list {
		if err := u.Validate(); err != nil {
			return nil, fmt.Errorf("ulimit: %w", err)
		}
		out = append(out, stage.Rlimit{Name: u.Name, Resource: resources[u.Name], Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return out, nil
}
