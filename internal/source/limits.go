package source

import (
	"cmp"

	"github.com/ocibuild/ocibuild/internal/source/registry"
)

// Bounds of what an image may claim, unless the caller says otherwise.
const (
	DefaultMaxLayers = 4096
	DefaultMaxConfig = 8 << 20
)

// Limits bounds what the documents of an image may claim. A zero means the
// default of that name, for manifests registry.MaxManifest.
type Limits struct {
	MaxLayers   int   // also of those that a build puts on each other
	MaxManifest int64 // bytes of a manifest or an index
	MaxConfig   int64 // bytes
}

// OrDefault returns the limits with every zero replaced.
func (l Limits) OrDefault() Limits {
	return Limits{
		MaxLayers: cmp.Or(l.MaxLayers, DefaultMaxLayers), MaxManifest: cmp.Or(l.MaxManifest, registry.MaxManifest),
		MaxConfig: cmp.Or(l.MaxConfig, DefaultMaxConfig),
	}
}
