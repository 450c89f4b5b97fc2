package lsm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// process is what the policy of containers allows least. Without categories
	// steps are not kept apart by it; namespaces do that.
	process = "system_u:system_r:container_t:s0"
	// fileLabel is the label of what such a process may use.
	fileLabel = "system_u:object_r:container_file_t:s0"
)

// free are the types of processes that the policy lets become others.
var free = []string{"unconfined_t", "unconfined_service_t", "spc_t"}

// seLinux tells whether it can confine steps, whose files have the given label. A
// step with files of another label could not even be executed.
func (m machine) seLinux(files string) Module {
	out := Module{Name: "SELinux"}
	if _, err := os.Stat(filepath.Join(m.sys, "fs/selinux/enforce")); err != nil {
		out.Reason = "this kernel does without it, or it is not to be seen from here"
		return out
	}
	current, err := os.ReadFile(filepath.Join(m.attr, "current"))
	if err != nil {
		out.Reason = err.Error()
		return out
	}
	if !slices.Contains(free, kind(text(current))) {
		out.Reason = "it confines this program already: " + text(current)
		return out
	}
	p := &Profile{Name: process, Attr: "exec", Text: process, Files: fileLabel}
	if err := m.try(p); err != nil {
		out.Reason = fmt.Sprintf("the policy has no %s, as the package container-selinux does: %v", kind(process), err)
		return out
	}
	if kind(files) != kind(fileLabel) {
		out.Reason = fmt.Sprintf("files of the store are of type %s; chcon -R -t %s on it makes steps run as %s", kind(files), kind(fileLabel), kind(process))
		return out
	}
	out.Profile = p
	return out
}

// kind is the type that a label names, which policies are about.
func kind(label string) string {
	parts := strings.SplitN(label, ":", 4)
	if len(parts) < 3 {
		return "none"
	}
	return parts[2]
}
