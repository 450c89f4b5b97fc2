package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the control group of one step, in one or more hierarchies.
type Group struct {
	limits  Limits
	v1      []joint
	unified string   // directory of v2; empty for none
	made    []string // parents that were missing, outermost first
}

// joint is a group of v1 and the one that threads of this process return to.
type joint struct {
	dir, home   string
	controllers []string
}

// number of the next group of this process.
var counter atomic.Uint64

// New makes a group. It is nil when nothing was asked for and nothing can be had.
func New(l Limits) (*Group, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	all, err := mounted()
	if err == nil {
		m := &maker{all: all, g: &Group{limits: l}, name: fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), counter.Add(1))}
		if err = m.make(); err == nil {
			return m.result(), nil
		}
		err = errors.Join(err, m.g.Remove())
	}
	if !l.asked() {
		return nil, nil
	}
	return nil, fmt.Errorf("control groups: %w", err)
}

// Start calls start so that a process which it starts begins its life in the
// group. fd is for SysProcAttr.CgroupFD, or -1. The calling goroutine must be
// locked to its thread.
func (g *Group) Start(start func(fd int) error) (err error) {
	if g == nil {
		return start(-1)
	}
	// A thread may be in another group than its process, in v1, and what it
	// starts is where it is. Moving a process instead waits for all processors.
	for _, j := range g.v1 {
		defer func() {
			if merr := move(j.home); merr != nil {
				err = errors.Join(err, fmt.Errorf("leave the control group: %w", merr))
			}
		}()
		if err := move(j.dir); err != nil {
			return fmt.Errorf("join the control group: %w", err)
		}
	}
	if g.unified == "" {
		return start(-1)
	}
	fd, err := unix.Open(g.unified, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: g.unified, Err: err}
	}
	defer unix.Close(fd)
	return start(fd)
}

// move puts the calling thread into a group of v1.
func move(dir string) error { return write(dir, file{"tasks", "0"}) }

func write(dir string, f file) error {
	// Not os.WriteFile: a file that is not there must not be made.
	name := filepath.Join(dir, f.name)
	h, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = h.WriteString(f.content)
	return errors.Join(err, h.Close())
}

// Exceeded tells what limit processes of the group have run into, or "".
func (g *Group) Exceeded() string {
	if g == nil {
		return ""
	}
	switch {
	case g.event("memory", "memory.oom_control", "memory.events", "oom_kill") > 0:
		return "out of memory: processes were killed" + amount(g.limits.Memory)
	case g.event("pids", "pids.events", "pids.events", "max") > 0:
		return "too many processes: some could not be started" + amount(g.limits.Pids)
	}
	return ""
}

func amount(limit int64) string {
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf(" (the limit is %d)", limit)
}

// event reads a counter; what cannot be read did not happen.
func (g *Group) event(controller, v1, v2, name string) int {
	dir, file := g.unified, v2
	for _, j := range g.v1 {
		if slices.Contains(j.controllers, controller) {
			dir, file = j.dir, v1
		}
	}
	if dir == "" {
		return 0
	}
	data, _ := os.ReadFile(filepath.Join(dir, file))
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			return n
		}
	}
	return 0
}

// Remove takes the group away. All its processes must have been waited for; the
// kernel may need a moment more to forget them.
func (g *Group) Remove() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, j := range g.v1 {
		errs = append(errs, remove(j.dir))
	}
	if g.unified != "" {
		errs = append(errs, remove(g.unified))
	}
	for _, dir := range slices.Backward(g.made) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.EBUSY) { // EBUSY: another step is in there
			errs = append(errs, &fs.PathError{Op: "remove control group", Path: dir, Err: err})
		}
	}
	g.v1, g.unified, g.made = nil, "", nil
	return errors.Join(errs...)
}

// remove removes a group and those that a step made in it.
func remove(dir string) error {
	const patience = 2 * time.Second
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err := removeNow(dir)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Since(begin) > patience {
			return &fs.PathError{Op: "remove control group", Path: dir, Err: err}
		}
	}
}

func removeNow(dir string) error {
	entries, _ := os.ReadDir(dir) // what is in there keeps it from going
	for _, e := range entries {
		if e.IsDir() {
			_ = removeNow(filepath.Join(dir, e.Name())) // likewise
		}
	}
	err := unix.Rmdir(dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
