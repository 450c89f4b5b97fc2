package builder

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// result makes the documents around the layers.
func (b *build) result(parts []*part) (*Result, error) {
	r := &Result{Names: b.names, Epoch: parts[0].dates.epoch}
	for _, p := range parts {
		img, err := b.image(p)
		if err != nil {
			return nil, err
		}
		r.Images = append(r.Images, img)
	}
	if !b.o.multiPlatform() {
		r.Descriptor = r.Images[0].Descriptor
		return r, nil
	}
	var err error
	r.Index, r.Descriptor, err = b.index(r.Images)
	return r, err
}

// image makes the config and the manifest for one platform.
func (b *build) image(p *part) (*Image, error) {
	img := &Image{}
	descs := make([]ocispec.Descriptor, len(p.layers))
	for i, l := range p.layers {
		d, err := l.Descriptor(b.ctx)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.DiffID, err)
		}
		d.MediaType = ociMediaType(d.MediaType)
		descs[i] = d
		img.Layers = append(img.Layers, l.Layer)
	}
	var err error
	if img.Config, err = config(p); err != nil {
		return nil, err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ocispec.MediaTypeImageConfig, img.Config), Layers: descs,
		Annotations: b.o.annotations(OnManifest, &p.platform),
	}
	if img.Manifest, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("image manifest: %w", err)
	}
	img.Descriptor = descriptor(m.MediaType, img.Manifest)
	img.Descriptor.Annotations = b.o.annotations(OnManifestDescriptor, &p.platform)
	img.Descriptor.Platform = &ocispec.Platform{
		OS: p.platform.OS, Architecture: p.platform.Architecture, Variant: p.platform.Variant, OSVersion: p.platform.OSVersion,
	}
	return img, nil
}

// index makes the index of the images.
func (b *build) index(images []*Image) ([]byte, ocispec.Descriptor, error) {
	x := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Annotations: b.o.annotations(OnIndex, nil),
	}
	for _, img := range images {
		x.Manifests = append(x.Manifests, img.Descriptor)
	}
	data, err := json.Marshal(x)
	if err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("image index: %w", err)
	}
	d := descriptor(x.MediaType, data)
	d.Annotations = b.o.annotations(OnIndexDescriptor, nil)
	return data, d, nil
}

// config completes the image configuration with its layers and the times of
// its history (image-spec, config.md).
func config(p *part) ([]byte, error) {
	out := *p.config
	out.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range p.layers {
		out.RootFS.DiffIDs = append(out.RootFS.DiffIDs, l.DiffID)
	}
	out.History = p.dates.clamp(history(out.History, p.layers))
	out.Created = nil
	for _, h := range out.History {
		if h.Created != nil {
			out.Created = h.Created
		}
	}
	data, err := json.Marshal(&out)
	if err != nil {
		return nil, fmt.Errorf("image config: %w", err)
	}
	return data, nil
}

// ociMediaType names a layer of a Docker base image as an OCI manifest must.
func ociMediaType(mt string) string {
	switch mt {
	case "application/vnd.docker.image.rootfs.diff.tar.gzip":
		return ocispec.MediaTypeImageLayerGzip
	case "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return ocispec.MediaTypeImageLayerZstd
	case "application/vnd.docker.image.rootfs.diff.tar":
		return ocispec.MediaTypeImageLayer
	}
	return mt
}

func descriptor(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
