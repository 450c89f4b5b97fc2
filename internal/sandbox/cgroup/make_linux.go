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
	"sync"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every group of ours; the process id follows, by
// which the next process knows what a killed one has left behind.
const prefix = "ocibuild-"

// maker makes one group.
type maker struct {
	all  []hierarchy
	g    *Group
	name string
}

func (m *maker) make() error {
	if m.g.limits.Parent != "" {
		if err := m.joinAll(); err != nil {
			return err
		}
	}
	settings := m.g.limits.settings()
	if err := m.makeUnified(settings); err != nil {
		return err
	}
	for _, s := range settings {
		if err := m.set(&s); err != nil && s.asked {
			return fmt.Errorf("limit %s: %w", s.what, err)
		}
	}
	return nil
}

func (m *maker) result() *Group {
	if len(m.g.v1) == 0 && m.g.unified == "" {
		return nil
	}
	return m.g
}

// set writes a limit into the group of its hierarchy.
func (m *maker) set(s *setting) error {
	h, err := find(m.all, s.controller)
	if err != nil {
		return err
	}
	if h.unified {
		if m.g.unified == "" {
			return fmt.Errorf("no group with the controller %s can be made", s.controller)
		}
		return write(m.g.unified, s.v2)
	}
	dir, err := m.joinV1(h)
	if err != nil {
		return err
	}
	return write(dir, s.v1)
}

// joinAll makes groups in every hierarchy, since the parent may be meant to
// limit anything.
func (m *maker) joinAll() error {
	found := false
	for i := range m.all {
		h := &m.all[i]
		if h.unified || slices.ContainsFunc(h.controllers, func(c string) bool { return strings.HasPrefix(c, "name=") }) {
			found = found || h.unified
			continue
		}
		if _, err := m.joinV1(h); err != nil {
			return fmt.Errorf("parent %s: %w", m.g.limits.Parent, err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("parent %s: none are mounted", m.g.limits.Parent)
	}
	return nil
}

// joinV1 makes the group in a hierarchy of v1, once.
func (m *maker) joinV1(h *hierarchy) (string, error) {
	for _, j := range m.g.v1 {
		if slices.Equal(j.controllers, h.controllers) {
			return j.dir, nil
		}
	}
	if h.own == "" {
		return "", fmt.Errorf("this process's group is not in sight below %s", h.mount)
	}
	in, err := m.parent(h)
	if err != nil {
		return "", err
	}
	if err := writable(h.own, "tasks"); err != nil { // by which threads return
		return "", err
	}
	sweep(in)
	dir := filepath.Join(in, m.name)
	if err := makeV1(dir); err != nil {
		return "", err
	}
	m.g.v1 = append(m.g.v1, joint{dir: dir, home: h.own, controllers: h.controllers})
	return dir, nil
}

// parent returns the group that the step's is made in; of one that was asked
// for, what is missing is made.
func (m *maker) parent(h *hierarchy) (string, error) {
	if m.g.limits.Parent == "" {
		return h.own, nil
	}
	dir := h.mount
	for part := range strings.SplitSeq(m.g.limits.Parent, "/") {
		if part == "" {
			continue
		}
		dir = filepath.Join(dir, part)
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		mk := makeV1
		if h.unified {
			mk = func(dir string) error { return os.Mkdir(dir, 0o755) }
		}
		if err := mk(dir); err != nil {
			return "", err
		}
		m.g.made = append(m.g.made, dir)
	}
	return dir, nil
}

// makeV1 makes a group. One of cpuset is of no use before it has processors and
// memory: those of its parent.
func makeV1(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return nil // no cpuset
		}
		if err := write(dir, file{name, strings.TrimSpace(string(data))}); err != nil {
			return errors.Join(err, unix.Rmdir(dir))
		}
	}
	return nil
}

// makeUnified makes the group of v2 if a parent was asked for, or controllers
// are wanted that no hierarchy of v1 has.
func (m *maker) makeUnified(settings []setting) error {
	at := slices.IndexFunc(m.all, func(h hierarchy) bool { return h.unified })
	if at < 0 {
		return nil
	}
	h := &m.all[at]
	var wanted, asked []string
	for _, s := range settings {
		if in, err := find(m.all, s.controller); err == nil && in == h {
			wanted = append(wanted, s.controller)
			if s.asked {
				asked = append(asked, s.controller)
			}
		}
	}
	if m.g.limits.Parent != "" {
		in, err := m.parent(h)
		if err == nil {
			err = m.makeIn(in, wanted, asked)
		}
		return err
	}
	if len(wanted) == 0 || h.own == "" {
		return nil
	}
	in, err := beside(h)
	if err == nil {
		err = m.makeIn(in, wanted, asked)
	}
	if err != nil && len(asked) > 0 {
		return fmt.Errorf("limit %s: %w", strings.Join(asked, ", "), err)
	}
	return nil // the default is done without
}

// beside returns the group of v2 that a step's can be made in. That of this
// process cannot have others below it, since it has processes, unless it is the
// root of all. The one above may have been left to the user, as systemd does.
func beside(h *hierarchy) (string, error) {
	if _, err := os.Stat(filepath.Join(h.own, typeFile)); errors.Is(err, fs.ErrNotExist) {
		return h.own, nil
	}
	if h.own == h.mount {
		return "", fmt.Errorf("this process's own is the outermost that is in sight, and cannot have others below it while there are processes in it")
	}
	return filepath.Dir(h.own), nil
}

// typeFile tells what groups of v2 are fit for; the root has none.
const typeFile = "cgroup.type"

// makeIn makes the group of v2 in another one, if it gets the controllers there:
// all that were asked for, or else some that are wanted.
func (m *maker) makeIn(in string, wanted, asked []string) error {
	for _, c := range asked {
		if err := enable(in, c); err != nil {
			return err
		}
	}
	if m.g.limits.Parent == "" && !slices.ContainsFunc(wanted, func(c string) bool { return enabled(in, c) }) {
		return fmt.Errorf("%s has no controllers to give", in)
	}
	if err := writable(in, "cgroup.procs"); err != nil { // or nothing of ours may be moved below it
		return err
	}
	sweep(in)
	dir := filepath.Join(in, m.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	kind, err := os.ReadFile(filepath.Join(dir, typeFile))
	if k := strings.TrimSpace(string(kind)); err == nil && k != "domain" {
		err = fmt.Errorf("a group in %s can only be %s, where no process can be started", in, k)
	}
	if err != nil {
		return errors.Join(err, unix.Rmdir(dir))
	}
	m.g.unified = dir
	return nil
}

func writable(dir, name string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func enabled(dir, controller string) bool {
	data, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control")) // unreadable: none
	return slices.Contains(strings.Fields(string(data)), controller)
}

// enable lets groups below dir have a controller; the ones above must, too.
func enable(dir, controller string) error {
	if enabled(dir, controller) {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(data)), controller) {
		up := filepath.Dir(dir)
		if _, err := os.Stat(filepath.Join(up, "cgroup.subtree_control")); err != nil {
			return fmt.Errorf("%s does not have the controller %s", dir, controller)
		}
		if err := enable(up, controller); err != nil {
			return err
		}
	}
	if err := write(dir, file{"cgroup.subtree_control", "+" + controller}); err != nil {
		if errors.Is(err, unix.EBUSY) {
			err = fmt.Errorf("%w: processes in it keep it from giving %s to groups below it", err, controller)
		}
		return err
	}
	return nil
}

// swept are the groups whose remains this process has looked through.
var swept sync.Map

// sweep removes empty groups of processes that are no more.
func sweep(dir string) {
	if _, done := swept.LoadOrStore(dir, true); done {
		return
	}
	entries, _ := os.ReadDir(dir) // remains are a matter of tidiness
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		owner, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(owner)
		if ok && err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = removeNow(filepath.Join(dir, e.Name()))
		}
	}
}
