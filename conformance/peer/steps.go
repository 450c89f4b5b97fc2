package peer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/conformance/suite"
)

// stepOptions are the flags of buildctl about how steps are run.
func stepOptions(a suite.Args) []string {
	var out []string
	for _, right := range a.Allow {
		out = append(out, "--allow", right)
	}
	for key, list := range map[string][]string{"add-hosts": a.Hosts, "ulimit": a.Ulimits} {
		if list != nil {
			out = append(out, "--opt", key+"="+strings.Join(list, ","))
		}
	}
	if a.ShmSize != "" {
		out = append(out, "--opt", "shm-size="+a.ShmSize)
	}
	return out
}

// setSteps says the same to ocibuild.
func setSteps(o *builder.Options, w *written) error {
	for id, socket := range w.agents {
		o.SSH = append(o.SSH, builder.SSH{ID: id, Paths: []string{socket}})
	}
	o.Allow = w.args.Allow
	for _, h := range w.args.Hosts {
		name, ip, _ := strings.Cut(h, "=")
		o.ExtraHosts = append(o.ExtraHosts, builder.ExtraHost{Name: name, IP: ip})
	}
	for _, s := range w.args.Ulimits {
		var u builder.Ulimit
		name, numbers, _ := strings.Cut(s, "=")
		if _, err := fmt.Sscanf(numbers, "%d:%d", &u.Soft, &u.Hard); err != nil {
			return fmt.Errorf("ulimit %s: %w", s, err)
		}
		u.Name = name
		o.Limits.Ulimits = append(o.Limits.Ulimits, u)
	}
	if w.args.ShmSize == "" {
		return nil
	}
	var err error
	o.Limits.ShmSize, err = strconv.ParseInt(w.args.ShmSize, 10, 64)
	return err
}
