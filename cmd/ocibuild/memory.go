package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// saveMemory makes the garbage collector suit a short-lived process: a small
// build ends before the first collection, and from that one on the heap is kept
// close to what is in use.
func saveMemory() {
	if os.Getenv("GOGC") != "" {
		return
	}
	const (
		first = 400 // percent of the 4 MiB that the runtime begins with
		after = 40
	)
	debug.SetGCPercent(first)
	collected := new([16]byte)
	runtime.SetFinalizer(collected, func(*[16]byte) { debug.SetGCPercent(after) })
}
