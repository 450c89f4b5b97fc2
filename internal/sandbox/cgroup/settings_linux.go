package cgroup

import "strconv"

// setting is one limit and where it is written.
type setting struct {
	what       string // what it limits, for errors
	controller string
	v1, v2     file
	asked      bool // it must be had
}

// file is a file of a control group and its content.
type file struct{ name, content string }

// settings are the limits as files, in the order in which they must be written.
func (l *Limits) settings() []setting {
	var out []setting
	add := func(wanted bool, s setting) {
		if wanted {
			s.asked = true
			out = append(out, s)
		}
	}
	add(l.Memory > 0, setting{what: "memory", controller: "memory",
		v1: file{"memory.limit_in_bytes", number(l.Memory)}, v2: file{"memory.max", number(l.Memory)}})
	add(l.MemorySwap != 0, setting{what: "swap", controller: "memory",
		v1: file{"memory.memsw.limit_in_bytes", number(l.MemorySwap)}, v2: file{"memory.swap.max", l.swap()}})
	add(l.CPUShares > 0, setting{what: "shares of processors", controller: "cpu",
		v1: file{"cpu.shares", number(l.CPUShares)}, v2: file{"cpu.weight", number(weight(l.CPUShares))}})
	add(l.CPUPeriod > 0, setting{what: "processor time", controller: "cpu",
		v1: file{"cpu.cfs_period_us", number(l.CPUPeriod)}, v2: file{"cpu.max", l.bandwidth()}})
	add(l.CPUQuota > 0, setting{what: "processor time", controller: "cpu",
		v1: file{"cpu.cfs_quota_us", number(l.CPUQuota)}, v2: file{"cpu.max", l.bandwidth()}})
	add(l.CPUs != "", setting{what: "the processors", controller: "cpuset",
		v1: file{"cpuset.cpus", l.CPUs}, v2: file{"cpuset.cpus", l.CPUs}})
	add(l.MemNodes != "", setting{what: "the memory nodes", controller: "cpuset",
		v1: file{"cpuset.mems", l.MemNodes}, v2: file{"cpuset.mems", l.MemNodes}})
	if l.Pids >= 0 {
		n := l.Pids
		if n == 0 {
			n = DefaultPids
		}
		pids := file{"pids.max", number(n)}
		out = append(out, setting{what: "processes", controller: "pids", v1: pids, v2: pids, asked: l.Pids > 0})
	}
	return out
}

// asked tells whether something must be had.
func (l *Limits) asked() bool { return *l != Limits{Pids: l.Pids} || l.Pids > 0 }

// swap is the limit in the terms of v2, which counts swap alone.
func (l *Limits) swap() string {
	if l.MemorySwap < 0 {
		return "max"
	}
	return number(l.MemorySwap - l.Memory)
}

func (l *Limits) bandwidth() string {
	quota, period := "max", uint64(100000)
	if l.CPUQuota > 0 {
		quota = number(l.CPUQuota)
	}
	if l.CPUPeriod > 0 {
		period = l.CPUPeriod
	}
	return quota + " " + number(period)
}

// weight maps shares, from 2 to 262144 with 1024 as the usual, to those of v2,
// from 1 to 10000, as all container runtimes once agreed to.
func weight(shares uint64) uint64 {
	return 1 + (min(max(shares, 2), 262144)-2)*9999/262142
}

func number[T int64 | uint64](n T) string {
	if n < 0 {
		return "-1"
	}
	return strconv.FormatUint(uint64(n), 10)
}
