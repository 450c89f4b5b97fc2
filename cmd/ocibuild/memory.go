package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// saveMemory makes the garbage collector suit a short-lived process: a small
// build ends before the first collection, and from that one on the heap is kept
// close to what is in use, the closer the larger that is.
func saveMemory() {
	if os.Getenv("GOGC") != "" {
		return
	}
	const (
		first = 400 // percent of the 4 MiB that the runtime begins with
		after = 40
		late  = 15 // of a heap of which more than that is in use:
		large = 128 << 20
	)
	debug.SetGCPercent(first)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var collected func(*[16]byte)
	collected = func(*[16]byte) {
		if metrics.Read(live); live[0].Value.Kind() == metrics.KindUint64 && live[0].Value.Uint64() > large {
			debug.SetGCPercent(late)
			return
		}
		debug.SetGCPercent(after)
		runtime.SetFinalizer(new([16]byte), collected)
	}
	runtime.SetFinalizer(new([16]byte), collected)
}
