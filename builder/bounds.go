package builder

import (
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/layer"
)

// ImageLimits bounds what the documents of an image may claim.
type ImageLimits = source.Limits

// Bounds are what images, archives and downloads may demand of this machine, at
// most. A zero anywhere means a default that no honest one comes near.
type Bounds struct {
	// Image bounds manifests and configs.
	Image ImageLimits
	// Layer bounds each layer of an image, and each archive that ADD unpacks
	// or that is a build context.
	Layer layer.Limits
	// Download is the most bytes of a file that ADD fetches; 0 means 64 GiB.
	Download int64
}
