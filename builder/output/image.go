package output

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/layer"
)

const layoutMarker = `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`

// blob is one blob of an image, in memory or a layer's.
type blob struct {
	digest digest.Digest
	size   int64
	data   []byte
	layer  *layer.Layer
	path   string // of the layer's file
}

// copyTo writes the blob, and fails if a byte of it is wrong.
func (b blob) copyTo(ctx context.Context, w io.Writer) error {
	if b.layer == nil {
		_, err := w.Write(b.data)
		return err
	}
	r, err := b.layer.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, r)
	if err == nil && n != b.size {
		err = fmt.Errorf("%d bytes where %d were announced", n, b.size)
	}
	return err
}

// blobsOf brings all blobs of a result here and returns each once, by digest.
func blobsOf(ctx context.Context, r *Result) ([]blob, error) {
	var all []blob
	for _, img := range r.Images {
		blobs, err := imageBlobs(ctx, img)
		if err != nil {
			return nil, err
		}
		all = append(all, blobs...)
	}
	if r.Index != nil {
		if err := checkIndex(r); err != nil {
			return nil, err
		}
		all = append(all, blob{digest: r.Descriptor.Digest, size: int64(len(r.Index)), data: r.Index})
	}
	slices.SortFunc(all, func(a, b blob) int { return cmp.Compare(a.digest, b.digest) })
	return slices.CompactFunc(all, func(a, b blob) bool { return a.digest == b.digest }), nil
}

func imageBlobs(ctx context.Context, img *Image) ([]blob, error) {
	m, err := manifestOf(img)
	if err != nil {
		return nil, err
	}
	all := []blob{
		{digest: img.Descriptor.Digest, size: int64(len(img.Manifest)), data: img.Manifest},
		{digest: m.Config.Digest, size: int64(len(img.Config)), data: img.Config},
	}
	for n, l := range img.Layers {
		b, err := l.Blob(ctx)
		if err != nil {
			return nil, err
		}
		if b.Descriptor.Digest != m.Layers[n].Digest {
			return nil, fmt.Errorf("layer %d is %s, the manifest says %s", n+1, b.Descriptor.Digest, m.Layers[n].Digest)
		}
		all = append(all, blob{digest: b.Descriptor.Digest, size: b.Descriptor.Size, layer: l, path: b.Path})
	}
	return all, nil
}

// checkIndex checks that the index names the images, and nothing but them.
func checkIndex(r *Result) error {
	var x ocispec.Index
	if err := json.Unmarshal(r.Index, &x); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if got := digest.FromBytes(r.Index); got != r.Descriptor.Digest {
		return fmt.Errorf("index has the digest %s, its descriptor says %s", got, r.Descriptor.Digest)
	}
	for _, d := range x.Manifests {
		if !slices.ContainsFunc(r.Images, func(img *Image) bool { return img.Descriptor.Digest == d.Digest }) {
			return fmt.Errorf("the index names the image %s, which is not here", d.Digest)
		}
	}
	return nil
}

// manifestOf reads an image's manifest and checks that the rest belongs to it.
func manifestOf(img *Image) (*ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if got := digest.FromBytes(img.Manifest); got != img.Descriptor.Digest {
		return nil, fmt.Errorf("manifest has the digest %s, its descriptor says %s", got, img.Descriptor.Digest)
	}
	if got := digest.FromBytes(img.Config); got != m.Config.Digest {
		return nil, fmt.Errorf("config has the digest %s, the manifest says %s", got, m.Config.Digest)
	}
	if len(m.Layers) != len(img.Layers) {
		return nil, fmt.Errorf("image has %d layers, its manifest %d", len(img.Layers), len(m.Layers))
	}
	return &m, nil
}

// tagged completes the names, or takes the result's own if there are none.
func tagged(names []string, r *Result) ([]reference.NamedTagged, error) {
	if len(names) == 0 {
		names = r.Names
	}
	var out []reference.NamedTagged
	for _, name := range names {
		t, err := parseTag(name)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func parseTag(name string) (reference.NamedTagged, error) {
	named, err := source.ParseName(name)
	if err != nil {
		return nil, err
	}
	t, ok := named.(reference.NamedTagged)
	if _, digested := named.(reference.Digested); digested || !ok {
		return nil, fmt.Errorf("image %q: an image is stored under a tag, not under a digest", name)
	}
	return t, nil
}

// indexEntries returns the result's entries for an index.json, one for a name.
func indexEntries(r *Result, names []reference.NamedTagged) []ocispec.Descriptor {
	if len(names) == 0 {
		return []ocispec.Descriptor{r.Descriptor}
	}
	var out []ocispec.Descriptor
	for _, n := range names {
		d := r.Descriptor
		d.Annotations = map[string]string{}
		maps.Copy(d.Annotations, r.Descriptor.Annotations)
		d.Annotations[ocispec.AnnotationRefName] = n.Tag()
		d.Annotations[cache.AnnotationName] = n.String()
		out = append(out, d)
	}
	return out
}

func newIndex() *ocispec.Index {
	return &ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
}
