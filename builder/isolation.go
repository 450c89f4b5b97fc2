package builder

import "github.com/ocibuild/ocibuild/internal/worker"

// Isolations are the ways in which RUN can be kept apart from this machine, the
// best one first. There are none where RUN is not possible, outside Linux.
func Isolations() []string { return worker.Isolations() }

func (o *Options) validateIsolation() error {
	if err := worker.CheckIsolation(o.Isolation); err != nil {
		return &OptionError{"isolation", err.Error()}
	}
	if err := worker.CheckRuntime(o.Runtime); err != nil {
		return &OptionError{"runtime", err.Error()}
	}
	return nil
}
