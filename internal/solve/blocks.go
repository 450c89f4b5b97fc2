package solve

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ocibuild/ocibuild/cache"
)

// blockLayers is how many layers a record lists itself, at most. Those below are
// in blocks of that many, which all records of an image share: the steps of a
// Dockerfile with a thousand of them would list half a million layers otherwise.
const blockLayers = 32

// block is layers on top of those of the block below.
type block struct {
	below  string
	layers [blockLayers]Layer
}

// list adds an output to a record.
func (s *Solver) list(ctx context.Context, rec *cache.Record, out []Layer) error {
	below := ""
	for len(out) > blockLayers {
		b := block{below: below}
		out = out[copy(b.layers[:], out):]
		var err error
		if below, err = s.keepBlock(ctx, b); err != nil {
			return err
		}
	}
	top, err := describeLayers(ctx, out)
	rec.Outputs = append(rec.Outputs, top)
	if below != "" {
		rec.Below = append(rec.Below, make([]string, len(rec.Outputs)-len(rec.Below))...)
		rec.Below[len(rec.Below)-1] = below
	}
	return err
}

// keepBlock returns the key of the record of a block, which this solver writes once.
func (s *Solver) keepBlock(ctx context.Context, b block) (string, error) {
	s.mu.Lock()
	known, ok := s.blocks[b]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	layers, err := describeLayers(ctx, b.layers[:])
	if err != nil {
		return "", err
	}
	rec := &cache.Record{Outputs: [][]cache.Layer{layers}, Below: []string{b.below}}
	text, err := json.Marshal(rec)
	if err != nil {
		return "", err
	}
	h := cache.NewHasher("layers")
	h.Add("record", string(text))
	key, _ := h.Sum()
	if err := s.Faces.Dir.Put(ctx, key, rec); err != nil {
		return "", fmt.Errorf("keep the layers of an image: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocks == nil {
		s.blocks = map[block]string{}
	}
	s.blocks[b] = key.String()
	return key.String(), nil
}

// listed returns all layers of an output of a record, lowest first.
func (s *Solver) listed(ctx context.Context, rec *cache.Record, output int) ([]cache.Layer, error) {
	stack := [][]cache.Layer{rec.Outputs[output]}
	for output < len(rec.Below) && rec.Below[output] != "" {
		k, err := cache.ParseKey(rec.Below[output])
		if err != nil {
			return nil, err
		}
		if rec, err = s.Faces.Dir.Get(ctx, k); err != nil {
			return nil, err
		}
		if output = 0; len(rec.Outputs) == 0 {
			return nil, fmt.Errorf("record %s has no layers: %w", k, cache.ErrNotFound)
		}
		stack = append(stack, rec.Outputs[0])
	}
	slices.Reverse(stack)
	return slices.Concat(stack...), nil
}

func describeLayers(ctx context.Context, layers []Layer) ([]cache.Layer, error) {
	described := make([]cache.Layer, len(layers))
	for i, l := range layers {
		var err error
		if described[i], err = describeLayer(ctx, l); err != nil {
			return nil, err
		}
	}
	return described, nil
}
