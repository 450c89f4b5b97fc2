package doctor

import (
	"context"

	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
)

// runtimes are those of this machine, with what is known against them.
func runtimes(ctx context.Context, path string) []Runtime {
	var all []Runtime
	for _, name := range []string{"runc", "crun", "runsc"} {
		file, err := bundle.Find(name, path)
		if err != nil {
			continue
		}
		found := Runtime{Name: name, Path: file}
		if r, err := bundle.Identify(ctx, file); err != nil {
			found.Reason = err.Error()
		} else {
			found.Name, found.Version, found.Reason = r.Name, r.Version, r.Weakness()
		}
		all = append(all, found)
	}
	return all
}
