package solve

import (
	"context"
	"fmt"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// permitted refuses, before anything is done, what nobody has allowed or what
// nobody can have here: also of steps that are in the cache.
func (s *Solver) permitted(g *graph.Graph) error {
	for _, step := range g.Steps {
		x, ok := step.Op.(*graph.Exec)
		if !ok {
			continue
		}
		s.outdate(step, x)
		var err error
		switch {
		case s.NoCommands:
			err = fmt.Errorf("isolation %s runs no commands, and this is a RUN", worker.IsolationNone)
		case x.Insecure && !s.Insecure:
			err = fmt.Errorf("RUN --security=insecure is not allowed; pass --allow security.insecure if you trust it with this machine")
		case len(x.Devices) > 0:
			err = fmt.Errorf("RUN --device: the CDI device %q is required, and CDI devices are not available here", x.Devices[0])
		default:
			continue
		}
		return located(step, err)
	}
	return nil
}

// outdate remembers the cache mounts of a step that must be done anew: with
// BuildKit, these begin anew too.
func (s *Solver) outdate(step *graph.Step, x *graph.Exec) {
	if !step.NoCache {
		return
	}
	for _, m := range x.Mounts {
		if m.Type == graph.MountCache {
			s.stale = append(s.stale, m.CacheID)
		}
	}
}

// renew lets them begin anew, once in a build and before any step uses one.
func (s *Solver) renew(ctx context.Context, client *worker.Client) error {
	if len(s.stale) == 0 {
		return nil
	}
	_, err := s.fresh.get(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, client.RenewCaches(ctx, s.stale)
	})
	return err
}
