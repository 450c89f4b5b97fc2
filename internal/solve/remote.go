package solve

import (
	"context"
	"errors"
	"fmt"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/layer"
)

// Remote is files that come over the network: of an HTTP or a Git operation.
type Remote interface {
	// Pin names the content, with as little of it fetched as that needs.
	Pin(ctx context.Context) (string, error)
	// Tree fetches the files; they stay until the build ends.
	Tree(ctx context.Context) (layer.Tree, error)
	// Ready tells that they were fetched before, for the frontend.
	Ready() bool
}

// isFiles tells the operations that stand for files outside any layer: what is
// copied out of them is read where it lies.
func isFiles(op graph.Op) bool {
	switch op.(type) {
	case *graph.Local, *graph.HTTP, *graph.Git:
		return true
	}
	return false
}

// files opens what such an operation stands for, for another step to copy from.
func (s *Solver) files(ctx context.Context, step *graph.Step) (layer.Tree, error) {
	t, err := s.open(ctx, step)
	if _, ok := step.Op.(*graph.Local); err == nil && !ok && !s.told(step) {
		s.event(step, progress.Event{Kind: progress.Done})
	}
	return t, err
}

func (s *Solver) open(ctx context.Context, step *graph.Step) (layer.Tree, error) {
	if op, ok := step.Op.(*graph.Local); ok {
		return s.Local(op)
	}
	r, err := s.remote(ctx, step)
	if err != nil {
		return nil, err
	}
	t, err := r.Tree(ctx)
	if err != nil {
		return nil, s.lost(step, err)
	}
	return t, nil
}

// remote finds the source of a step, and tells once that it begins.
func (s *Solver) remote(ctx context.Context, step *graph.Step) (Remote, error) {
	return s.state(step).remote.get(ctx, func(context.Context) (Remote, error) {
		r, err := s.Remote(step.Op)
		if err != nil {
			return nil, s.lost(step, err)
		}
		if r.Ready() {
			s.told(step)
			return r, nil
		}
		s.event(step, progress.Event{Kind: progress.Start})
		return r, nil
	})
}

// remoteKey is what the source says its content is.
func (s *Solver) remoteKey(ctx context.Context, step *graph.Step) (key, error) {
	r, err := s.remote(ctx, step)
	if err != nil {
		return key{}, err
	}
	pin, err := r.Pin(ctx)
	if err != nil {
		return key{}, s.lost(step, err)
	}
	h := newHasher("", step)
	h.Add("content", pin)
	return sum(h), nil
}

// lost tells of a source that cannot be had.
func (s *Solver) lost(step *graph.Step, err error) error {
	if !errors.Is(err, context.Canceled) && !s.told(step) {
		s.event(step, progress.Event{Kind: progress.Error, Error: err.Error()})
	}
	return located(step, &toldError{err})
}

// toldError is a failure that the progress knows of already.
type toldError struct{ err error }

func (e *toldError) Error() string { return e.err.Error() }
func (e *toldError) Unwrap() error { return e.err }

// withoutSecrets is an operation without credentials and what else says
// nothing of its content.
func withoutSecrets(op graph.Op) graph.Op {
	switch x := op.(type) {
	case *graph.HTTP:
		c := *x
		c.URL, _ = graph.WithoutUser(x.URL)
		return &c
	case *graph.Git:
		c := *x
		c.Remote, _ = graph.WithoutUser(x.Remote)
		c.KnownHosts, c.SSH, c.TokenSecret, c.HeaderSecret = "", "", "", ""
		return &c
	case *graph.Exec:
		return withoutHosts(x)
	}
	return op
}

// withoutVersion is an operation as it also is in other versions of a
// Dockerfile that wants another version of the same files.
func withoutVersion(op graph.Op) graph.Op {
	switch x := op.(type) {
	case *graph.HTTP:
		c := *x
		c.Checksum = ""
		return &c
	case *graph.Git:
		c := *x
		c.Ref, c.Checksum, c.FetchByCommit = "", "", false
		return &c
	}
	return op
}

// fetchName is what the progress calls a source that has a name of its own.
func fetchName(step *graph.Step) string {
	if step.Internal {
		return step.Name
	}
	switch op := step.Op.(type) {
	case *graph.HTTP:
		return "fetch " + graph.Redact(op.URL)
	case *graph.Git:
		name := "fetch " + graph.Redact(op.Remote)
		if op.Ref != "" {
			name = fmt.Sprintf("%s#%s", name, op.Ref)
		}
		return name
	}
	return step.Name
}
