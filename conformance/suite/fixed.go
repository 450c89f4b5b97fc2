package suite

import (
	"bytes"
	"encoding/json"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// fixedImage is an image of bytes at hand.
type fixedImage struct {
	config, manifest []byte
	layers           []v1.Layer
}

func fixed(config []byte, annotations map[string]string, layers []v1.Layer) (v1.Image, error) {
	hash, size, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}, Annotations: annotations,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hash, Size: size},
	}
	for _, l := range layers {
		d, err := partial.Descriptor(l)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, *d)
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&fixedImage{config, manifest, layers})
}

func (f *fixedImage) RawConfigFile() ([]byte, error)      { return f.config, nil }
func (f *fixedImage) RawManifest() ([]byte, error)        { return f.manifest, nil }
func (f *fixedImage) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (f *fixedImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range f.layers {
		if d, err := l.Digest(); err == nil && d == h {
			return l, nil
		}
	}
	return partial.ConfigLayer(f)
}
