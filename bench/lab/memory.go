package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// memoryWatch looks at a process and its descendants now and then. The
// kernel keeps the peak for each, so only what grows in the last moment
// before an exit is missed.
type memoryWatch struct {
	root  int
	peaks map[int]int64
	quit  chan struct{}
	done  chan struct{}
}

func watchMemory(pid int) *memoryWatch {
	w := &memoryWatch{root: pid, peaks: map[int]int64{}, quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			w.look(pid, exe, nil)
			select {
			case <-w.quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return w
}

func (w *memoryWatch) look(pid int, exe string, parentLine []byte) {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	// A child between clone and exec still shows its parent's memory, and its parent's arguments.
	if name == exe && exe != "" && !bytes.Equal(line, parentLine) {
		w.peaks[pid] = max(w.peaks[pid], peakMemory(pid))
	}
	for _, child := range children(pid) {
		w.look(child, exe, line)
	}
}

// stop returns the peak of the root process plus that of its largest descendant.
func (w *memoryWatch) stop() int64 {
	close(w.quit)
	<-w.done
	var other int64
	for pid, peak := range w.peaks {
		if pid != w.root {
			other = max(other, peak)
		}
	}
	return w.peaks[w.root] + other
}

func children(pid int) []int {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	var found []int
	for _, t := range tasks {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		for f := range bytes.FieldsSeq(data) {
			if child, err := strconv.Atoi(string(f)); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// peakMemory is VmHWM in bytes; 0 for a process that is gone.
func peakMemory(pid int) int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := bytes.Cut(data, []byte("VmHWM:"))
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	kib, _ := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	return kib << 10
}
