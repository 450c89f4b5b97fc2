package lab

import "time"

// Usage is what one run of a builder took.
type Usage struct {
	Wall time.Duration
	// CPU is user and system time of every process of the run, containers and daemons too.
	CPU time.Duration
	// Memory is the peak of the builder's own resident memory in bytes, without the commands it runs.
	Memory int64
	// Received and Sent are bytes on the way from and to the registry, HTTP headers included.
	Received, Sent int64
}

// Best returns the smallest value of each field: what is above it is the
// machine's noise. Of memory it is the largest, since no noise adds to it and a
// look at a short process may come too late.
func Best(runs []Usage) Usage {
	if len(runs) == 0 {
		return Usage{}
	}
	best := runs[0]
	for _, u := range runs[1:] {
		best.Wall = min(best.Wall, u.Wall)
		best.CPU = min(best.CPU, u.CPU)
		best.Memory = max(best.Memory, u.Memory)
		best.Received = min(best.Received, u.Received)
		best.Sent = min(best.Sent, u.Sent)
	}
	return best
}
