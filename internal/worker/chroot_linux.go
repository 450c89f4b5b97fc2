package worker

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
)

// chrootHint is for the first step that fails: it may be the want of something
// that other rungs give.
const chrootHint = "isolation chroot gives a step neither CAP_MKNOD, CAP_SYS_CHROOT nor CAP_NET_RAW, and /proc and /sys only to read and by name; a command that needs more fails"

// runChrooted runs the step in a tree that is changed by it and by nobody else.
func (t *task) runChrooted(ctx context.Context, own *kept.Tree, left changes, r *Request) (out *outcome, err error) {
	if err := own.Begin(ctx); err != nil {
		return nil, err
	}
	a := &attacher{s: t.s, kept: left}
	f := &furnisher{attacher: a, tree: own}
	defer func() { err = errors.Join(err, own.Restore(), a.detach()) }()
	spec := r.Spec
	spec.Rootfs, spec.Mounts, spec.Chroot, spec.Hold = own.Root(), nil, true, t.s.temp.Lock
	id, err := sandbox.LookupUser(spec.Rootfs, spec.User) // before something is put over its files
	if err != nil {
		return nil, err
	}
	if err := f.furnish(); err != nil {
		return nil, err
	}
	if err := f.network(&spec); err != nil {
		return nil, err
	}
	spec.ResolvConf, spec.Hosts = nil, nil
	for _, m := range r.Mounts {
		if err := f.mount(ctx, m); err != nil {
			return nil, fmt.Errorf("mount %s at %s: %w", m.Type, m.Target, err)
		}
	}
	if !sandbox.ChrootedSideBySide() {
		t.s.alone.Lock()
		defer t.s.alone.Unlock()
	}
	own.Spoil()
	if err := own.MakeDir(path.Join("/", spec.Cwd), id.UID, id.GID); err != nil {
		return nil, fmt.Errorf("make the working directory %s: %w", spec.Cwd, err)
	}
	out, err = t.command(ctx, &spec)
	if err == nil && puzzling(out) && t.s.hinted.CompareAndSwap(false, true) {
		out.Hint = chrootHint
	}
	return out, err
}

// puzzling tells whether a command has failed, and not for want of a program: then
// a shell gives the codes 126 and 127.
func puzzling(o *outcome) bool {
	return o.ExitCode != 0 && o.ExitCode != 126 && o.ExitCode != 127 && o.Reason == "" && o.Exceeded == ""
}
