package bundle

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// forbidDevices returns the hook that takes from the mount of the root what crun
// gives it: it mounts the root once more and forgets that devices in it must not
// open the host's. A control group, which others forbid it with, is not its to
// make. In a user namespace the kernel forbids it anyway.
func forbidDevices(root string) (*specs.Hooks, error) {
	first, err := initialUsers()
	if err != nil || !first {
		return nil, err
	}
	exe, err := thisProgram()
	if err != nil {
		return nil, err
	}
	return &specs.Hooks{CreateContainer: []specs.Hook{{Path: exe, Args: []string{stage.HookName, root}, Env: []string{"GOMAXPROCS=1"}}}}, nil
}

// initialUsers tells whether this is the user namespace of the machine.
func initialUsers() (bool, error) {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false, fmt.Errorf("find the ids that are mapped: %w", err)
	}
	return strings.Join(strings.Fields(string(data)), " ") == "0 0 4294967295", nil
}

// thisProgram is the path of this program, for other processes to execute.
var thisProgram = sync.OnceValues(func() (string, error) {
	const self = "/proc/self/exe"
	path, err := os.Readlink(self)
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	want, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if got, err := os.Stat(path); err != nil || !os.SameFile(want, got) {
		return "", fmt.Errorf("the file %s is not the running program any more: start it anew", path)
	}
	return path, nil
})
