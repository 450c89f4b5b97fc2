// Package archive takes images into the store that others have packed: OCI
// layouts, in a folder or an archive, and what docker save writes. Nothing of
// them is believed, and no name in them leads anywhere.
package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/source/registry"
)

// maxDocument is the most bytes an index, a manifest or a config may have, and
// maxNesting how deep indexes may lie in each other.
const (
	maxDocument = 8 << 20
	maxNesting  = 4
)

// Image is an image, or an index of them, that is in the store now.
type Image struct {
	Descriptor ocispec.Descriptor
	Names      []string // complete ones, which it does not have in the store yet
}

// Load takes in all images of the archive or the folder from, or of stdin if
// that is "-". Every byte is checked against its digest.
func Load(ctx context.Context, images *source.Images, from string, stdin io.Reader) ([]Image, error) {
	s := &store{dir: images.Store.Dir, images: images}
	in, done, err := s.open(ctx, from, stdin)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.importAll(ctx, in)
}

// store is where the images go.
type store struct {
	dir    *cache.Dir
	images *source.Images
}

// unnamed stands before the digest of an image that is looked up by it: every
// reference has a name.
const unnamed = "localhost/unnamed@"

func (s *store) importAll(ctx context.Context, in files) ([]Image, error) {
	data, err := document(in, ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		images, err := s.importDocker(ctx, in)
		if errors.Is(err, errNoDocker) {
			err = fmt.Errorf("neither an OCI layout (%s) nor a docker archive (%s)", ocispec.ImageIndexFile, dockerManifestFile)
		}
		return images, err
	}
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	var images []Image
	for _, m := range index.Manifests {
		if err := s.importManifest(ctx, in, m, 0); err != nil {
			return nil, err
		}
		if err := s.verify(ctx, m); err != nil {
			return nil, err
		}
		images = merge(images, m)
	}
	if len(images) == 0 {
		return nil, errors.New("there is no image in it")
	}
	return images, nil
}

// merge adds an image, or a name to one that is there.
func merge(images []Image, m ocispec.Descriptor) []Image {
	i := slices.IndexFunc(images, func(f Image) bool { return f.Descriptor.Digest == m.Digest })
	if i < 0 {
		i, images = len(images), append(images, Image{Descriptor: ocispec.Descriptor{
			MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Platform: m.Platform,
		}})
	}
	if n := annotatedName(m); n != "" {
		images[i].Names = append(images[i].Names, n)
	}
	return images
}

// annotatedName reads the name of an image from where tools put it. A bare tag
// is none: nobody knows of what.
func annotatedName(m ocispec.Descriptor) string {
	n := m.Annotations[cache.AnnotationName]
	if ref := m.Annotations[ocispec.AnnotationRefName]; n == "" && strings.ContainsAny(ref, "/:") {
		n = ref
	}
	named, err := reference.ParseNormalizedNamed(n)
	if err != nil {
		return ""
	}
	if _, digested := named.(reference.Digested); digested {
		return ""
	}
	return reference.TagNameOnly(named).String()
}

// importManifest brings a manifest or an index, and what it names, into the
// store. Of an index, images for other platforms may be missing.
func (s *store) importManifest(ctx context.Context, in files, desc ocispec.Descriptor, depth int) error {
	if err := s.importBlob(ctx, in, desc, maxDocument); err != nil {
		return err
	}
	data, err := s.dir.ReadBlob(desc.Digest, maxDocument)
	if err != nil {
		return err
	}
	var doc struct {
		Manifests []ocispec.Descriptor
		Config    *ocispec.Descriptor
		Layers    []ocispec.Descriptor
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	if depth >= maxNesting {
		return fmt.Errorf("indexes nested deeper than %d", maxNesting)
	}
	blobs := doc.Layers
	if doc.Config != nil {
		blobs = append(blobs, *doc.Config)
	}
	for _, b := range blobs {
		if err := s.importBlob(ctx, in, b, -1); err != nil {
			return err
		}
	}
	return s.importIndex(ctx, in, doc.Manifests, depth+1)
}

func (s *store) importIndex(ctx context.Context, in files, entries []ocispec.Descriptor, depth int) error {
	missing := 0
	for _, m := range entries {
		r, err := in.open(blobName(m.Digest))
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err == nil {
			r.Close()
			err = s.importManifest(ctx, in, m, depth)
		}
		if err != nil {
			return err
		}
	}
	if missing > 0 && missing == len(entries) {
		return errors.New("an index, but none of its images")
	}
	return nil
}

// blobName returns where a blob of a layout lies. The digest may be anything.
func blobName(d digest.Digest) string {
	_, hex, _ := strings.Cut(d.String(), ":")
	return path.Join(ocispec.ImageBlobsDir, "sha256", inside(hex))
}

// importBlob copies a blob whose descriptor nobody has checked yet.
func (s *store) importBlob(ctx context.Context, in files, desc ocispec.Descriptor, limit int64) error {
	if err := desc.Digest.Validate(); err != nil || desc.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %q is not one of sha256", desc.Digest)
	}
	if desc.Size < 0 || limit >= 0 && desc.Size > limit {
		return fmt.Errorf("blob %s: it cannot have %d bytes", desc.Digest, desc.Size)
	}
	if s.dir.Holds(desc.Digest, desc.Size) {
		return nil
	}
	r, err := in.open(blobName(desc.Digest))
	if err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	defer r.Close()
	return s.dir.PutBlob(ctx, r, desc.Digest, desc.Size)
}

// verify reads an imported image as a build would. Of an index, that there is
// an image for this machine is not asked for.
func (s *store) verify(ctx context.Context, desc ocispec.Descriptor) error {
	if desc.MediaType == ocispec.MediaTypeImageIndex || desc.MediaType == registry.DockerIndex {
		return nil
	}
	_, err := s.images.Load(ctx, unnamed+desc.Digest.String(), ocispec.Platform{})
	return err
}

func document(in files, name string) ([]byte, error) {
	r, err := in.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(data) > maxDocument {
		err = fmt.Errorf("more than %d bytes", maxDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}
