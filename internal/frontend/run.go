package frontend

import (
	"strconv"
	"strings"
)

// Run is what every RUN is given beside what the Dockerfile says.
type Run struct {
	ExtraHosts      []string // "NAME=IP"
	Ulimits         []string // "NAME=SOFT:HARD"
	ShmSize, Memory int64    // bytes; 0 is the default
	CgroupParent    string
}

// attributes says it in the frontend's own terms; set drops empty values.
func (r *Run) attributes(set func(k, v string)) {
	size := func(k string, n int64) {
		if n != 0 {
			set(k, strconv.FormatInt(n, 10))
		}
	}
	set("add-hosts", strings.Join(r.ExtraHosts, ","))
	set("ulimit", strings.Join(r.Ulimits, ","))
	set("cgroup-parent", r.CgroupParent)
	size("shm-size", r.ShmSize)
	size("memory", r.Memory)
}
