package bundle

import (
	"fmt"
	"strconv"
	"strings"
)

// The runtimes that need to be told more than all of them understand.
const (
	runc  = "runc"
	crun  = "crun"
	runsc = "runsc"
)

// repaired are the first versions of each line of releases of a runtime in which
// the known ways out of a container that an image has prepared are closed, oldest
// first; every later line has that from its beginning.
var repaired = map[string]struct {
	since []release
	known string
}{
	runc: {[]release{{1, 3, 6}, {1, 4, 3}}, "CVE-2024-21626, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579"},
	crun: {[]release{{1, 28, 0}}, "CVE-2026-47766"},
}

// release is a version in numbers, the rest of it left out.
type release [3]int

// Weakness tells what is known against the version of a runtime, or "".
func (r *Runtime) Weakness() string {
	rule, known := repaired[r.Name]
	if !known || r.Version == "" {
		return ""
	}
	is, ok := parseRelease(r.Version)
	if !ok {
		return fmt.Sprintf("version %s cannot be compared with those in which %s are repaired", r.Version, rule.known)
	}
	var first []string
	for _, s := range rule.since {
		sameLine := is[0] == s[0] && is[1] == s[1]
		if sameLine && is[2] >= s[2] {
			return ""
		}
		first = append(first, fmt.Sprintf("%d.%d.%d", s[0], s[1], s[2]))
	}
	if last := rule.since[len(rule.since)-1]; is[0] > last[0] || is[0] == last[0] && is[1] > last[1] {
		return ""
	}
	return fmt.Sprintf("version %s is older than %s: unless the distribution has repaired it, images can get out of it (%s)", r.Version, strings.Join(first, " or "), rule.known)
}

func parseRelease(version string) (release, bool) {
	version = strings.TrimPrefix(version, "v")
	if i := strings.IndexFunc(version, func(c rune) bool { return c != '.' && (c < '0' || c > '9') }); i >= 0 {
		version = version[:i] // such as +ds1 or -rc.3
	}
	var out release
	for i, part := range strings.SplitN(version, ".", 4) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return out, false
		}
		if i < len(out) {
			out[i] = n
		}
	}
	return out, true
}
