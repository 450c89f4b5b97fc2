package cgroup

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// hierarchy is a tree of control groups that is mounted here.
type hierarchy struct {
	unified     bool
	mount       string   // where its root, as far as we see it, is mounted
	own         string   // the directory of this process's group; empty if it is not in sight
	controllers []string // of v1; those of v2 depend on the group
}

// mounted finds the hierarchies once in a process: a worker stays in its group.
var mounted = sync.OnceValues(func() ([]hierarchy, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return hierarchies(string(groups), string(mounts)), nil
})

// hierarchies reads /proc/PID/cgroup and mountinfo (cgroups(7), proc(5)).
func hierarchies(groups, mounts string) []hierarchy {
	var all []hierarchy
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+4 {
			continue
		}
		h := hierarchy{mount: unescape(fields[4])}
		switch fields[dash+1] {
		case "cgroup2":
			h.unified = true
		case "cgroup":
			h.controllers = strings.Split(fields[dash+3], ",")
		default:
			continue
		}
		if slices.ContainsFunc(all, func(o hierarchy) bool { return o.same(&h) }) {
			continue // mounted once more, mostly by somebody's sandbox
		}
		if rel, ok := below(unescape(fields[3]), ownGroup(groups, &h)); ok {
			h.own = path.Join(h.mount, rel)
		}
		all = append(all, h)
	}
	return all
}

func (h *hierarchy) same(o *hierarchy) bool {
	return h.unified == o.unified && slices.Equal(h.controllers, o.controllers)
}

// ownGroup is the path of the process's group in a hierarchy, "" for none.
func ownGroup(groups string, h *hierarchy) string {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		names := strings.Split(parts[1], ",")
		if h.unified && parts[1] == "" || !h.unified && parts[1] != "" && contains(h.controllers, names) {
			return parts[2]
		}
	}
	return ""
}

// contains tells whether a mount, whose options name more than controllers, is
// that of all names.
func contains(options, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(options, n) })
}

// below returns p as seen from root.
func below(root, p string) (string, bool) {
	if p == "" || strings.HasPrefix(p, "/..") {
		return "", false
	}
	if root == "/" {
		return p, true
	}
	rel, ok := strings.CutPrefix(p, root)
	return rel, ok && (rel == "" || rel[0] == '/')
}

// unescape undoes what mountinfo does to spaces and the like.
func unescape(s string) string {
	for _, r := range [][2]string{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\134`, `\`}} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

// find returns the hierarchy of a controller: a v1 hierarchy has it for itself.
func find(all []hierarchy, controller string) (*hierarchy, error) {
	var unified *hierarchy
	for i := range all {
		h := &all[i]
		if !h.unified && slices.Contains(h.controllers, controller) {
			return h, nil
		}
		if h.unified {
			unified = h
		}
	}
	if unified == nil {
		return nil, fmt.Errorf("no control groups with the controller %s are mounted", controller)
	}
	return unified, nil
}
