package solve

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/plan"
	"github.com/ocibuild/ocibuild/layer"
)

// withoutHosts is a command without what does not change its result, or is not
// to be asked when a result is looked for. The choice is BuildKit's: addresses
// of hosts, but not their names; and which cache a mount is, but not where.
func withoutHosts(x *graph.Exec) *graph.Exec {
	c := *x
	c.Proxy = nil
	c.ExtraHosts = nil
	for _, h := range x.ExtraHosts {
		c.ExtraHosts = append(c.ExtraHosts, graph.HostIP{Host: h.Host})
	}
	c.Mounts = nil
	for _, m := range x.Mounts {
		m.CacheID, m.Sharing = "", ""
		c.Mounts = append(c.Mounts, m)
	}
	return &c
}

// shows tells whether a command is shown parts of an input, and nothing of it
// can get into a result but through what the command does.
func shows(x *graph.Exec, input int) bool {
	for _, m := range x.Mounts {
		if m.Input == input && (path.Join("/", m.Selector) == "/" || m.Output >= 0 && !m.ReadOnly) {
			return false
		}
	}
	return true
}

// contentKey names the mounted inputs: by the files that are shown, or by all
// their layers.
func (j *execJob) contentKey(ctx context.Context) (key, error) {
	h := newHasher("", j.step)
	op, err := normalized(j.op)
	if err != nil {
		return key{}, err
	}
	h.Add("content of", op)
	for i, in := range j.inputs {
		name := "input " + strconv.Itoa(i)
		if selects(j.op, i) {
			d, err := j.s.selected(ctx, j.step, i, func() (layer.Tree, error) { return layer.NewView(plainLayers(in)), nil })
			if err != nil {
				return key{}, err
			}
			h.Add(name+" files", d.String())
			continue
		}
		h.Add(name+" layers", chain(in))
	}
	return sum(h), nil
}

// shownOf is the digest of all that mounts show of an input.
func shownOf(ctx context.Context, x *graph.Exec, input int, src layer.Tree) (digest.Digest, error) {
	h := cache.NewHasher("selection")
	for i, m := range x.Mounts {
		if m.Input != input {
			continue
		}
		d, err := shown(ctx, src, m.Selector)
		if err != nil {
			return "", fmt.Errorf("mount %s at %s: %w", m.Type, m.Target, err)
		}
		h.Add("mount "+strconv.Itoa(i), d.String())
	}
	k, _ := h.Sum()
	return digest.NewDigestFromBytes(digest.SHA256, k[:]), nil
}

// shown is the digest of what is at a path, wherever links lead to it.
func shown(ctx context.Context, src layer.Tree, selector string) (digest.Digest, error) {
	t := plan.New(nil, plan.Options{Now: time.Unix(0, 0), KeepArchives: true})
	c := &graph.Copy{Src: path.Join("/", selector), Dest: "/shown", Mode: -1, Timestamp: -1, FollowSymlink: true, CreateDestPath: true}
	if err := t.Copy(ctx, src, c, nil); err != nil {
		return "", err
	}
	return t.Digest(ctx)
}
