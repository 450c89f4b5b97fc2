package worker

import "errors"

// root is what changes has the root under; targets of mounts are not empty.
const root = ""

// changes are what a step has changed: the root, and the mounts with Keep by
// their targets.
type changes map[string]tree

func (c changes) close() error {
	var errs []error
	for _, snap := range c {
		errs = append(errs, snap.Close())
	}
	return errors.Join(errs...)
}

// takeEnded hands changes of an execution over to the caller, once.
func (s *server) takeEnded(id uint64, target string) (tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.ended[id][target]
	if snap == nil {
		return nil, errors.New("worker: the changes of the step are committed or discarded already")
	}
	delete(s.ended[id], target)
	if len(s.ended[id]) == 0 {
		delete(s.ended, id)
	}
	return snap, nil
}
