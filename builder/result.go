package builder

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/layer"
)

// Result is what a build made: an image, or an index of one image for each
// platform.
type Result struct {
	Names []string // full references; empty for a result without a name
	// Descriptor is that of the image's manifest, or of Index.
	Descriptor ocispec.Descriptor
	// Index is the image index (image-spec, image-index.md); nil for one image.
	Index  []byte
	Images []*Image // in the order of Options.Platforms
	// Epoch is SOURCE_DATE_EPOCH, which is the time of all files where only they
	// are written; nil if it was not given.
	Epoch *time.Time
	// Received and Sent are bytes on the connections to registries during the
	// build, with those of other builds that share the Counter meanwhile; zero if
	// Options.Registries counts nothing.
	Received, Sent int64
}

// Digest returns the digest of the image's manifest, or of the index.
func (r *Result) Digest() digest.Digest { return r.Descriptor.Digest }

// Image is a finished image for one platform.
type Image struct {
	Manifest, Config []byte
	Descriptor       ocispec.Descriptor // of Manifest
	Layers           []*layer.Layer     // lowest first
}

// Sink takes the results of a build; package builder/output has some.
type Sink interface {
	// Layer tells of a layer that will be part of the result, as soon as it is
	// known, so that work on it overlaps with the steps that still run. It is
	// called from several goroutines, for a layer more than once, and returns
	// without waiting for the layer's blob.
	Layer(ctx context.Context, l *layer.Layer) error
	// Write takes the result; when it returns, all of it is where it belongs.
	Write(ctx context.Context, r *Result) error
}
