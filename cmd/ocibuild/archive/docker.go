package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/source"
)

// dockerManifestFile lists the images of an archive of docker save.
const dockerManifestFile = "manifest.json"

var errNoDocker = errors.New("not a docker archive")

// dockerImage is an entry of it: names of files, and names of the image.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// importDocker takes the images of a docker archive as OCI images.
func (s *store) importDocker(ctx context.Context, in files) ([]Image, error) {
	data, err := document(in, dockerManifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoDocker
	}
	if err != nil {
		return nil, err
	}
	var entries []dockerImage
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s: %w", dockerManifestFile, err)
	}
	var images []Image
	for _, e := range entries {
		img, err := s.importDockerImage(ctx, in, e)
		if err != nil {
			return nil, err
		}
		images = append(images, *img)
	}
	if len(images) == 0 {
		return nil, errors.New("there is no image in it")
	}
	return images, nil
}

func (s *store) importDockerImage(ctx context.Context, in files, e dockerImage) (*Image, error) {
	config, err := document(in, inside(e.Config))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	var c struct{ RootFS ocispec.RootFS }
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if len(c.RootFS.DiffIDs) != len(e.Layers) {
		return nil, fmt.Errorf("config names %d layers, %s %d", len(c.RootFS.DiffIDs), dockerManifestFile, len(e.Layers))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: described(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{},
	}
	for n, name := range e.Layers {
		l, err := s.importDockerLayer(ctx, in, name, c.RootFS.DiffIDs[n])
		if err != nil {
			return nil, fmt.Errorf("layer %d (%s): %w", n+1, name, err)
		}
		m.Layers = append(m.Layers, l)
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	img := &Image{Descriptor: described(ocispec.MediaTypeImageManifest, manifest)}
	for _, doc := range [][]byte{config, manifest} {
		if err := s.dir.PutBytes(digest.FromBytes(doc), doc); err != nil {
			return nil, err
		}
	}
	for _, t := range e.RepoTags {
		named, err := source.ParseName(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dockerManifestFile, err)
		}
		if _, digested := named.(reference.Digested); digested {
			return nil, fmt.Errorf("%s: the tag %q is a digest", dockerManifestFile, t)
		}
		img.Names = append(img.Names, named.String())
	}
	return img, s.verify(ctx, img.Descriptor)
}

func described(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// importDockerLayer takes a layer as it is. Mostly it is a plain tar, whose
// digest the config has; a compressed one is checked when it is unpacked.
func (s *store) importDockerLayer(ctx context.Context, in files, name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	r, err := in.open(inside(name))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer r.Close()
	buffered := bufio.NewReaderSize(r, 1<<20)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer}
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		desc.MediaType = ocispec.MediaTypeImageLayerGzip
	}
	w, err := s.dir.NewBlob()
	if err != nil {
		return desc, err
	}
	defer w.Abort()
	if err := w.Fill(ctx, buffered); err != nil {
		return desc, err
	}
	desc.Digest, desc.Size, err = w.Commit()
	if err == nil && desc.MediaType == ocispec.MediaTypeImageLayer && desc.Digest != diffID {
		err = fmt.Errorf("it has the digest %s, the config says %s", desc.Digest, diffID)
	}
	return desc, err
}
