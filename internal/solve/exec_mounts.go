package solve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/worker"
	"github.com/ocibuild/ocibuild/layer"
)

// mounts are the mounts beside the root, those of this machine first: of two at
// one place the last counts. What is mounted on another one comes after it.
func (j *execJob) mounts(ctx context.Context, client *worker.Client) ([]worker.Mount, error) {
	var all []worker.Mount
	at := map[string]int{}
	add := func(m worker.Mount) {
		if i, ok := at[m.Target]; ok {
			all[i] = m
			return
		}
		at[m.Target] = len(all)
		all = append(all, m)
	}
	for _, m := range j.s.HostMounts {
		add(m)
	}
	for _, m := range j.op.Mounts {
		if m.Target == "/" && m.Type == graph.MountBind {
			continue
		}
		wm, ok, err := j.mount(ctx, client, m)
		if err != nil {
			return nil, err
		}
		if ok {
			add(wm)
		}
	}
	slices.SortStableFunc(all, func(a, b worker.Mount) int { return strings.Compare(a.Target, b.Target) })
	return all, nil
}

// mount translates a mount; ok is false for an optional secret or agent that is
// not given.
func (j *execJob) mount(ctx context.Context, client *worker.Client, m graph.Mount) (worker.Mount, bool, error) {
	out := worker.Mount{
		Type: worker.MountType(m.Type), Target: m.Target, ReadOnly: m.ReadOnly, Selector: m.Selector,
		CacheID: m.CacheID, Sharing: worker.Sharing(m.Sharing), Size: m.Size, Mode: m.Mode, UID: m.UID, GID: m.GID,
	}
	switch m.Type {
	case graph.MountSecret:
		value, ok, err := j.secret(m.ID, m.Optional)
		out.Data = value
		return out, ok, err
	case graph.MountSSH:
		out.Serve = j.s.SSH(m.ID)
		if out.Serve == nil && !m.Optional {
			id := cmp.Or(m.ID, "default")
			return out, false, fmt.Errorf("SSH agent %q is required but not given; pass --ssh %s", id, id)
		}
		return out, out.Serve != nil, nil
	case graph.MountCache:
		var err error
		if out.Seed, err = j.seed(ctx, m); err != nil {
			return out, false, err
		}
	case graph.MountBind:
		out.Keep = m.Output >= 0 && !m.ReadOnly
	}
	var err error
	out.Layers, err = j.trees(ctx, client, j.layers(m))
	return out, true, err
}

// seed tells caches apart that have one name and begin with different files: one
// that begins with other files is another one.
func (j *execJob) seed(ctx context.Context, m graph.Mount) (string, error) {
	if m.Input < 0 {
		return "", nil
	}
	d, err := shown(ctx, layer.NewView(plainLayers(j.layers(m))), m.Selector)
	if err != nil {
		return "", fmt.Errorf("cache %q: %w", m.CacheID, err)
	}
	return d.String(), nil
}

// trees names layers for the worker, with the blobs of those not unpacked yet.
func (j *execJob) trees(ctx context.Context, client *worker.Client, layers []Layer) ([]snapshot.Layer, error) {
	layers = distinct(layers)
	out := make([]snapshot.Layer, len(layers))
	ids := make([]digest.Digest, len(layers))
	for i, l := range layers {
		ids[i], out[i].DiffID, out[i].Origin = l.DiffID, l.DiffID, Origin(l.Layer)
	}
	has := make([]bool, len(layers))
	if !j.blobs {
		var err error
		if has, err = client.HasTrees(ctx, ids); err != nil {
			return nil, err
		}
	}
	eg, ctx := errgroup.WithContext(ctx)
	for i, l := range layers {
		if has[i] {
			continue
		}
		eg.Go(func() error {
			b, err := l.Blob(ctx)
			out[i].Blob, out[i].MediaType = b.Path, b.Descriptor.MediaType
			return err
		})
	}
	return out, eg.Wait()
}

// distinct leaves of equal layers the uppermost, which hides all that the
// others could show: the kernel takes no directory twice into an overlay.
func distinct(layers []Layer) []Layer {
	var out []Layer
	seen := map[digest.Digest]bool{}
	for _, l := range slices.Backward(layers) {
		if !seen[l.DiffID] {
			seen[l.DiffID] = true
			out = append(out, l)
		}
	}
	slices.Reverse(out)
	return out
}
