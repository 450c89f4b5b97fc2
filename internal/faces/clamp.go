package faces

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// Clamp returns the layer with no file newer than latest, in seconds since the
// Unix epoch: l itself if it has none, else a layer made for it once. It waits
// for the compression.
func (s *Store) Clamp(ctx context.Context, l *layer.Layer, latest int64) (*layer.Layer, error) {
	toc, err := l.TOC(ctx)
	if err != nil {
		return nil, err
	}
	if !anyNewer(toc, latest) {
		return l, nil
	}
	key := s.clampKey(l, latest)
	unlock, err := s.Dir.Lock(ctx, "clamp "+key.String())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if rec, err := s.Dir.Get(ctx, key); err == nil && s.Has(rec.Outputs[0][0]) {
		return s.Local(rec.Outputs[0][0]), nil
	}
	made, err := s.Create(ctx, CreateOptions{}, func(w *layer.Writer) error { return copyClamped(ctx, w, l, toc, latest) })
	if err != nil {
		return nil, fmt.Errorf("layer %s: rewrite its times: %w", l.DiffID, err)
	}
	desc, err := made.Descriptor(ctx)
	if err != nil {
		return nil, err
	}
	kept := cache.Layer{DiffID: made.DiffID, Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType, Annotations: desc.Annotations}
	return made, s.Dir.Put(ctx, key, &cache.Record{Outputs: [][]cache.Layer{{kept}}})
}

func (s *Store) clampKey(l *layer.Layer, latest int64) cache.Key {
	compression := s.Compression
	if compression == nil {
		compression = layer.Gzip
	}
	h := cache.NewHasher("clamp")
	h.Add("layer", l.DiffID.String())
	h.Add("latest", strconv.FormatInt(latest, 10))
	h.Add("compression", compression.Name())
	k, _ := h.Sum()
	return k
}

func anyNewer(toc *layer.TOC, latest int64) bool {
	for e := range toc.All() {
		if e.ModTime > latest {
			return true
		}
	}
	return false
}

// copyClamped writes the entries of a layer in their order, but hard links
// after what they lead to.
func copyClamped(ctx context.Context, w *layer.Writer, l *layer.Layer, toc *layer.TOC, latest int64) error {
	raw, err := l.Raw(ctx)
	if err != nil {
		return err
	}
	var later []layer.Entry
	for e := range toc.All() {
		if err := ctx.Err(); err != nil {
			return err
		}
		e.ModTime = min(e.ModTime, latest)
		switch {
		case e.Type == layer.Hardlink && layer.CompareNames(e.Linkname, e.Name) > 0:
			later = append(later, e)
			continue
		case e.Type == layer.Regular:
			var content io.Reader
			if content, err = layer.Content(raw, e); err == nil {
				err = w.Add(e, content)
			}
		default:
			err = w.Add(e, nil)
		}
		if err != nil {
			return err
		}
	}
	for _, e := range later {
		if err := w.Add(e, nil); err != nil {
			return err
		}
	}
	return nil
}
