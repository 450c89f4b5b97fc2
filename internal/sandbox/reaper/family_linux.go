package reaper

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// killAll kills what is left of a step and returns when all of it is dead. The
// children of a process that is killed become ours, or are strays. Those further
// down are stopped until then, so that none of them starts more than are killed.
func killAll(before sessions) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		childless := reapAll()
		if childless && before == nil {
			return
		}
		all := processes()
		own, others := family(all, os.Getpid())
		if before != nil {
			own = append(own, before.strays(all, own, others)...)
		}
		if childless && len(own) == 0 {
			return
		}
		for _, pid := range others {
			_ = unix.Kill(pid, unix.SIGSTOP) // it may have ended
		}
		for _, pid := range own {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(pause)
	}
}

// reapAll waits for the dead, and tells whether no child is left.
func reapAll() bool {
	for {
		pid, _, err := wait(unix.WNOHANG)
		if err != nil || pid == 0 {
			return err != nil
		}
	}
}

// process is what /proc tells of one.
type process struct {
	parent, session int
	dead            bool // and not yet waited for
}

// processes are all there are, by their numbers.
func processes() map[int]process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	all := map[int]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := look(e.Name()); ok {
			all[pid] = p
		}
	}
	return all
}

// look reads what /proc tells of a process; false if it is not to be seen.
func look(pid string) (process, bool) {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return process{}, false
	}
	// The name of the program stands in parentheses and may hold anything.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 4 {
		return process{}, false
	}
	p := process{dead: fields[0] == "Z"}
	p.parent, _ = strconv.Atoi(fields[1])
	p.session, _ = strconv.Atoi(fields[3])
	return p, true
}

// family returns the children of a process and those below them.
func family(all map[int]process, of int) (children, others []int) {
	kids := map[int][]int{}
	for pid, p := range all {
		kids[p.parent] = append(kids[p.parent], pid)
	}
	children = kids[of]
	for todo := children; len(todo) > 0; {
		var next []int
		for _, pid := range todo {
			next = append(next, kids[pid]...)
		}
		others = append(others, next...)
		todo = next
	}
	return children, others
}

// sessions are those that there were before a step, where the kernel gives its
// orphans to the first process and not to us, as older versions of gVisor do.
type sessions map[int]bool

func sessionsNow() sessions {
	s := sessions{}
	for _, p := range processes() {
		s[p.session] = true
	}
	return s
}

// strays are the processes of a step, which is the only one that runs, that are not
// below us any more: of a session that was made since, in another root as far as that
// can be seen, and not of somebody who has entered the container meanwhile, whose
// parent is outside of it.
func (s sessions) strays(all map[int]process, families ...[]int) []int {
	ours, _ := os.Readlink("/proc/self/root")
	var found []int
	for pid, p := range all {
		if s[p.session] || p.dead || slices.Contains(slices.Concat(families...), pid) || !under(all, pid, 1) {
			continue
		}
		if at, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/root"); err == nil && at == ours {
			continue
		}
		found = append(found, pid)
	}
	return found
}

// under tells whether a process descends from another one.
func under(all map[int]process, pid, top int) bool {
	for range len(all) {
		if pid == top {
			return true
		}
		pid = all[pid].parent
	}
	return false
}

// ignore ignores a signal without the help of the Go runtime, whose package for
// it costs time at the start.
func ignore(sig unix.Signal) {
	action := [4]uint64{1} // SIG_IGN
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
}
