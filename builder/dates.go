package builder

import (
	"reflect"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/internal/frontend"
	"github.com/ocibuild/ocibuild/internal/solve"
)

// dates are what SOURCE_DATE_EPOCH decides of an image.
type dates struct {
	epoch *time.Time        // nothing new is later than this; nil for no limit
	base  []ocispec.History // of the base image, which keeps its times
}

// clamp limits the times of the history, but of what the base image has.
func (d *dates) clamp(h []ocispec.History) []ocispec.History {
	if d.epoch == nil {
		return h
	}
	same := true
	for i := range h {
		same = same && i < len(d.base) && reflect.DeepEqual(h[i], d.base[i])
		if !same && (h[i].Created == nil || h[i].Created.After(*d.epoch)) {
			h[i].Created = created(*d.epoch)
		}
	}
	return h
}

// rewrite limits the times of the files in the layers that the build made, if
// that is wanted. Without a limit, it warns and leaves the times as they are.
func (b *build) rewrite(p *part) error {
	if !b.o.RewriteTimestamps {
		return nil
	}
	if p.dates.epoch == nil {
		b.warn(frontend.Warning{Message: "rewrite-timestamp is set, but the build argument SOURCE_DATE_EPOCH is not: files keep their times"})
		return nil
	}
	eg, ctx := errgroup.WithContext(b.ctx)
	for i, l := range p.layers {
		if l.Created.IsZero() { // the base image's
			continue
		}
		eg.Go(func() error {
			var err error
			p.layers[i].Layer, err = b.faces.Clamp(ctx, l.Layer, p.dates.epoch.Unix())
			return err
		})
	}
	return eg.Wait()
}

// history makes as many entries stand for layers as there are layers, and
// gives every entry a time: a layer's own, or that of the layer before.
func history(in []ocispec.History, layers []solve.Layer) []ocispec.History {
	out := make([]ocispec.History, 0, len(in)+1)
	n := 0
	for _, h := range in {
		if !h.EmptyLayer && n >= len(layers) {
			h.EmptyLayer = true // a base image whose history speaks of more layers than it has
		}
		if !h.EmptyLayer {
			if h.Created == nil {
				h.Created = created(layers[n].Created)
			}
			n++
		}
		out = append(out, h)
	}
	for ; n < len(layers); n++ {
		out = append(out, ocispec.History{Created: created(layers[n].Created), Comment: "ocibuild"})
	}
	fillTimes(out)
	return out
}

// fillTimes gives entries without a layer the time of the layer before them, or
// of the first new one.
func fillTimes(h []ocispec.History) {
	var at *time.Time
	missing := false
	for _, e := range h {
		if e.Created != nil {
			at = e.Created
			if missing {
				break
			}
		} else {
			missing = true
		}
	}
	missing = false
	for i := range h {
		if h[i].Created != nil {
			if missing {
				at = h[i].Created
			}
			continue
		}
		missing = true
		h[i].Created = at
	}
}

// created is a time as image configs have it.
func created(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
