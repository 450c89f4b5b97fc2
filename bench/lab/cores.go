package lab

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnCores lets what f starts have the first n of this machine's cores, so that a
// promise about few cores can be looked at on a machine that has many.
func OnCores(n int, f func() error) error {
	runtime.LockOSThread() // processes inherit from the thread that starts them
	defer runtime.UnlockOSThread()
	var all, few unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("cores of this machine: %w", err)
	}
	for cpu := 0; few.Count() < n; cpu++ {
		if cpu >= 64*len(all) {
			return fmt.Errorf("this machine has %d cores, %d are needed", all.Count(), n)
		}
		if all.IsSet(cpu) {
			few.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &few); err != nil {
		return fmt.Errorf("take %d cores: %w", n, err)
	}
	err := f()
	if undo := unix.SchedSetaffinity(0, &all); err == nil && undo != nil {
		err = fmt.Errorf("give back the cores: %w", undo)
	}
	return err
}
