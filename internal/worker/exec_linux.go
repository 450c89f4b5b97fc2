package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
	"github.com/ocibuild/ocibuild/layer"
)

// exec runs a step. Its changes wait under the request's id.
func (t *task) exec(ctx context.Context) (any, error) {
	var r Request
	if err := t.decode(&r); err != nil {
		return nil, err
	}
	emulators, err := t.s.emulators(ctx, r.Arch)
	if err != nil {
		return nil, err
	}
	r.Spec.Emulators = emulators
	at, own, err := t.s.trees.prepare(ctx, r.Layers, ground(&r.Spec))
	if err != nil {
		return missing(err)
	}
	left := changes{root: own}
	out, err := t.runIn(ctx, at, left, &r)
	if err != nil {
		return missing(errors.Join(err, left.close()))
	}
	t.s.mu.Lock()
	t.s.ended[t.m.ID] = left
	t.s.mu.Unlock()
	return out, nil
}

// missing makes an answer of what is no failure yet: that blobs are needed.
func missing(err error) (any, error) {
	var m *kept.MissingError
	if errors.As(err, &m) {
		return &outcome{Missing: m.DiffIDs}, nil
	}
	return nil, err
}

// ground has the places that every step of that kind is given mounts on.
func ground(s *sandbox.Spec) snapshot.Ground {
	if s.ResolvConf != nil && s.Hosts != nil {
		return snapshot.Networked
	}
	return snapshot.Root
}

// runIn runs the step in the tree at a path, and adds to left what mounts were
// changed.
func (t *task) runIn(ctx context.Context, at string, left changes, r *Request) (out *outcome, err error) {
	if own, ok := left[root].(*kept.Tree); ok && t.s.wholes != nil {
		return t.runChrooted(ctx, own, left, r)
	}
	a := &attacher{s: t.s, kept: left}
	defer func() { err = errors.Join(err, a.detach()) }()
	r.Spec.Rootfs, r.Spec.Mounts, r.Spec.Owners = at, nil, t.s.owned
	if err := left[root].Change(ctx, true); err != nil {
		return nil, err
	}
	mounts, err := showFiles(left[root], r.Mounts)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		sm, err := a.attach(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("mount %s at %s: %w", m.Type, m.Target, err)
		}
		r.Spec.Mounts = append(r.Spec.Mounts, sm)
	}
	done, err := t.s.through(&r.Spec)
	if err != nil {
		return nil, err
	}
	a.later(done)
	return t.command(ctx, &r.Spec)
}

// command runs the command of a step.
func (t *task) command(ctx context.Context, s *sandbox.Spec) (*outcome, error) {
	p, err := sandbox.Start(ctx, s, t.stdio())
	if err != nil {
		return nil, err
	}
	t.started(p)
	code, err := p.Wait()
	t.started(nil)
	var notRun *sandbox.ExecError
	if errors.As(err, &notRun) {
		return &outcome{ExitCode: notRun.Code, Reason: notRun.Text}, nil
	}
	return &outcome{ExitCode: code, Exceeded: p.Exceeded()}, err
}

func (t *task) stdio() sandbox.Stdio {
	var all [3]*os.File
	for i, f := range t.files {
		if n := t.m.Files[i]; n >= 0 && n < len(all) {
			all[n] = f
		}
	}
	return sandbox.Stdio{Stdin: all[0], Stdout: all[1], Stderr: all[2]}
}

// started makes p the receiver of signals; nil when it has ended.
func (t *task) started(p *sandbox.Process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proc = p
	if p == nil {
		return
	}
	for _, sig := range t.kept {
		_ = p.Signal(sig) // a process that has ended needs none
	}
	t.kept = nil
}

func (t *task) signal(sig syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.proc != nil:
		_ = t.proc.Signal(sig) // a process that has ended needs none
	case len(t.kept) < 16:
		t.kept = append(t.kept, sig)
	}
}

func (s *server) create(ctx context.Context, previous cache.Layer, changed tree) (*layer.Layer, error) {
	o := faces.CreateOptions{Previous: previous, Spool: true, Publish: true}
	return s.store.Create(ctx, o, func(w *layer.Writer) error { return changed.Diff(ctx, w) })
}
