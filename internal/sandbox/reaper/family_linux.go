package reaper

import (
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// killAll kills what is left of a step and returns when all of it is dead. The
// children of a process that is killed become ours. Those further down are
// stopped until then, so that none of them starts more than are killed.
func killAll() {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		for {
			pid, _, err := wait(unix.WNOHANG)
			if err != nil {
				return // no child is left
			}
			if pid == 0 {
				break
			}
		}
		own, others := family(os.Getpid())
		for _, pid := range others {
			_ = unix.Kill(pid, unix.SIGSTOP) // it may have ended
		}
		for _, pid := range own {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(pause)
	}
}

// family returns the children of a process and those below them.
func family(of int) (children, others []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, nil
	}
	kids := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if up := parent(e.Name()); up > 0 {
			kids[up] = append(kids[up], pid)
		}
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

// parent returns the process that started another one; 0 if it is not to be seen.
func parent(pid string) int {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	// The name of the program stands in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// ignore ignores a signal without the help of the Go runtime, whose package for
// it costs time at the start.
func ignore(sig unix.Signal) {
	action := [4]uint64{1} // SIG_IGN
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
}
