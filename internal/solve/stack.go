package solve

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// Layer is a layer of a result and the time of the step that made it, which is
// zero for the layers of base images.
type Layer struct {
	*layer.Layer
	Created time.Time
	// laid is how the layer came to lie on others; nil if it was not put by lay.
	laid *laid
}

// laid is the layer below, nil for the lowest one, and the chain of all of them up
// to the one that it is said of, if that was computed.
type laid struct {
	on    *layer.Layer
	chain string
}

// lay puts a layer on others, whose list stays as it is.
func lay(on []Layer, l *layer.Layer, created time.Time) []Layer {
	out := pile(slices.Clip(on))
	out.put(l, created)
	out[len(on)].laid.chain = link(chain(on), l)
	return out
}

// pile is a list of layers that grows by put alone.
type pile []Layer

func (p *pile) put(l *layer.Layer, created time.Time) {
	at := &laid{}
	if n := len(*p); n > 0 {
		at.on = (*p)[n-1].Layer
	}
	*p = append(*p, Layer{Layer: l, Created: created, laid: at})
}

// chain names layers by what is in them, as the ChainID of the image-spec does
// (config.md#layer-chainid). An image may have a thousand: what was computed when
// each was laid on those below is computed once.
func chain(layers []Layer) string {
	d := ""
	var below *layer.Layer
	known := 0
	for i, l := range layers {
		if l.laid == nil || l.laid.on != below {
			break // it was laid on others, and put into this list
		}
		if below = l.Layer; l.laid.chain != "" {
			d, known = l.laid.chain, i+1
		}
	}
	for _, l := range layers[known:] {
		d = link(d, l.Layer)
	}
	return d
}

func link(below string, l *layer.Layer) string {
	if below == "" {
		return l.DiffID.String()
	}
	return digest.FromString(below + " " + l.DiffID.String()).String()
}
