package suite

import (
	"fmt"
	"regexp"
	"strings"
)

// Args are the flags of a build, as docker buildx build has them.
type Args struct {
	BuildArgs, Labels, Secrets      map[string]string
	Target, File, Network, Platform string
	// Context is the build context: a directory of the case, or a URL. Empty
	// means all of the case.
	Context string
	// Contexts are named contexts: directories of the case, or URLs. That of a
	// layout is "oci-layout://DIRECTORY".
	Contexts map[string]string
	// Output has options of the exporter, such as rewrite-timestamp.
	Output      map[string]string
	Annotations []Annotation
	SSH         []string // ids of agents that the build may use
	// Allow are entitlements; Hosts are "NAME=IP", Ulimits "NAME=SOFT:HARD".
	Allow, Hosts, Ulimits []string
	ShmSize               string // bytes
}

// Annotation is "ON[PLATFORM]:KEY=VALUE"; both in front of the colon may be missing.
type Annotation struct{ On, Platform, Key, Value string }

var annotationForm = regexp.MustCompile(`^(?:([a-z-]+)(?:\[([^]]+)\])?:)?([^=]+)=(.*)$`)

// parseArgs reads flags, one a line: a name, and its value after a space.
func parseArgs(text string) (Args, error) {
	a := Args{
		BuildArgs: map[string]string{}, Labels: map[string]string{}, Secrets: map[string]string{}, Contexts: map[string]string{}, Output: map[string]string{},
	}
	for line := range strings.Lines(text) {
		flag, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		if !a.set(flag, value) {
			return a, fmt.Errorf("args: %q", line)
		}
	}
	return a, nil
}

// set takes one flag; it returns false if the flag or its value is none.
func (a *Args) set(flag, value string) bool {
	single := map[string]*string{"target": &a.Target, "file": &a.File, "network": &a.Network, "platform": &a.Platform, "context": &a.Context, "shm-size": &a.ShmSize}
	lists := map[string]*[]string{"ssh": &a.SSH, "allow": &a.Allow, "add-host": &a.Hosts, "ulimit": &a.Ulimits}
	pairs := map[string]map[string]string{
		"build-arg": a.BuildArgs, "label": a.Labels, "secret": a.Secrets, "build-context": a.Contexts, "output": a.Output,
	}
	k, v, pair := strings.Cut(value, "=")
	switch {
	case single[flag] != nil:
		*single[flag] = value
		return true
	case pairs[flag] != nil && pair:
		pairs[flag][k] = v
		return true
	case lists[flag] != nil:
		*lists[flag] = append(*lists[flag], value)
		return true
	case flag == "annotation":
		m := annotationForm.FindStringSubmatch(value)
		if m == nil {
			return false
		}
		a.Annotations = append(a.Annotations, Annotation{m[1], m[2], m[3], m[4]})
		return true
	}
	return false
}
