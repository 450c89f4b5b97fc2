package solve

import (
	"context"
	"errors"
	"fmt"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// Previous is the layer that an earlier run of a step made, or zero.
type Previous = cache.Layer

// lookup returns the outputs recorded under a key, or nil: a record that is
// damaged, or whose blobs are gone, is a miss.
func (s *Solver) lookup(ctx context.Context, step *graph.Step, k cache.Key) [][]Layer {
	rec, err := s.Faces.Dir.Get(ctx, k)
	if err != nil {
		return nil
	}
	outs := make([][]Layer, len(rec.Outputs))
	for i := range rec.Outputs {
		listed, err := s.listed(ctx, rec, i)
		if err != nil {
			return nil
		}
		out := make(pile, 0, len(listed))
		for _, l := range listed {
			found, err := s.recorded(step, l)
			if err != nil {
				return nil
			}
			out.put(found, l.Created)
		}
		outs[i] = out
	}
	return outs
}

// previous returns the last layer recorded for a shape.
func (s *Solver) previous(ctx context.Context, shape cache.Key) Previous {
	rec, err := s.Faces.Dir.Get(ctx, shape)
	if err != nil || len(rec.Outputs) == 0 || len(rec.Outputs[0]) == 0 {
		return Previous{}
	}
	return rec.Outputs[0][len(rec.Outputs[0])-1]
}

// keep records what a step made as soon as its blobs are there, and then calls
// done. The build goes on meanwhile.
func (s *Solver) keep(ctx context.Context, step *graph.Step, job job, outs [][]Layer, done func()) {
	s.tail.Go(func() {
		defer done()
		if err := s.record(ctx, step, job, outs); err != nil && !errors.Is(err, context.Canceled) {
			s.mu.Lock()
			s.errs = append(s.errs, err)
			s.mu.Unlock()
		}
	})
}

// record puts one record under all that the step is known by.
func (s *Solver) record(ctx context.Context, step *graph.Step, job job, outs [][]Layer) error {
	def, err := s.key(ctx, step)
	if err != nil {
		return err
	}
	content, err := job.contentKey(ctx)
	if err != nil {
		return err
	}
	// Only now, since a descriptor waits for the compression.
	rec := &cache.Record{Parts: def.parts}
	for _, out := range outs {
		if err := s.list(ctx, rec, out); err != nil {
			return err
		}
	}
	if err := s.Faces.Dir.Put(ctx, s.state(step).shape.key, rec, def.key, content.key); err != nil {
		return fmt.Errorf("keep what a step made: %w", err)
	}
	return nil
}

func describeLayer(ctx context.Context, l Layer) (cache.Layer, error) {
	d, err := l.Descriptor(ctx)
	if err != nil {
		return cache.Layer{}, err
	}
	return cache.Layer{
		DiffID: l.DiffID, Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, Annotations: d.Annotations,
		Origin: Origin(l.Layer), Created: l.Created,
	}, nil
}

// Origin returns the "registry/repository" that a layer came from, or "".
func Origin(l *layer.Layer) string {
	if o, ok := l.Faces().(interface{ Origin() string }); ok {
		return o.Origin()
	}
	return ""
}
