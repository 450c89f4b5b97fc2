package builder

import (
	"encoding/json"
	"fmt"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/solve"
)

// config completes the image configuration with its layers and the times of
// its history (image-spec, config.md).
func config(img *dockerspec.DockerOCIImage, layers []solve.Layer) ([]byte, error) {
	out := *img
	out.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range layers {
		out.RootFS.DiffIDs = append(out.RootFS.DiffIDs, l.DiffID)
	}
	out.History = history(img.History, layers)
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

// manifest returns the image manifest (image-spec, manifest.md).
func manifest(config []byte, layers []ocispec.Descriptor, p ocispec.Platform) ([]byte, ocispec.Descriptor, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    descriptor(ocispec.MediaTypeImageConfig, config),
		Layers:    make([]ocispec.Descriptor, len(layers)),
	}
	for i, d := range layers {
		d.MediaType = ociMediaType(d.MediaType)
		m.Layers[i] = d
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("image manifest: %w", err)
	}
	d := descriptor(ocispec.MediaTypeImageManifest, data)
	d.Platform = &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion}
	return data, d, nil
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
