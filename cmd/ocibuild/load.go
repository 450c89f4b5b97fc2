package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/source/registry"
)

// maxDocument is the most bytes an index, a manifest or a config may have, and
// maxNesting how deep indexes may lie in each other.
const (
	maxDocument = 8 << 20
	maxNesting  = 4
)

func (c *cli) loadCommand() *cobra.Command {
	var from string
	var names []string
	cmd := &cobra.Command{
		Use: "load", Short: "Take images from an archive or a folder into the store", Args: between(0, 0),
		Long: `Take images from an OCI archive, an OCI layout folder or a docker archive into
the store. Every byte is checked against its digest before an image gets its name.`,
		RunE: c.do(func(ctx context.Context, _ []string) error { return c.load(ctx, from, names) }),
	}
	cmd.Flags().StringVarP(&from, "input", "i", "-", "`PATH` of the archive or folder; - is standard input")
	cmd.Flags().StringArrayVarP(&names, "tag", "t", nil, "`NAME[:TAG]` for the image, if there is only one, in place of its own")
	return cmd
}

// files is an archive or a folder; names have no "./" and no "..".
type files interface {
	// open opens a regular file; the error is fs.ErrNotExist if there is none.
	open(name string) (io.ReadCloser, error)
}

// found is an image of the input.
type found struct {
	desc  ocispec.Descriptor
	names []string
}

func (c *cli) load(ctx context.Context, from string, names []string) (err error) {
	for i := range names {
		if names[i], err = tagName(names[i]); err != nil {
			return err
		}
	}
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	in, done, err := c.openFiles(ctx, s, from)
	if err != nil {
		return fmt.Errorf("load %s: %w", from, err)
	}
	defer done()
	images, err := s.importAll(ctx, in)
	if err != nil {
		return fmt.Errorf("load %s: %w", from, err)
	}
	if len(names) > 0 {
		if len(images) != 1 {
			return usagef("--tag: there are %d images in %s, not one", len(images), from)
		}
		images[0].names = names
	}
	for _, img := range images {
		if err := c.loaded(s, img); err != nil {
			return err
		}
	}
	return nil
}

// loaded names an image and says so.
func (c *cli) loaded(s *store, img found) error {
	for _, n := range img.names {
		if err := s.dir.Tag(n, img.desc); err != nil {
			return fmt.Errorf("tag %s: %w", n, err)
		}
		if err := c.printf("loaded %s %s\n", img.desc.Digest, printable(familiar(n))); err != nil {
			return err
		}
	}
	if len(img.names) == 0 {
		return c.printf("loaded %s without a name\n", img.desc.Digest)
	}
	return nil
}

func (s *store) importAll(ctx context.Context, in files) ([]found, error) {
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
	var images []found
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
func merge(images []found, m ocispec.Descriptor) []found {
	i := slices.IndexFunc(images, func(f found) bool { return f.desc.Digest == m.Digest })
	if i < 0 {
		i, images = len(images), append(images, found{desc: ocispec.Descriptor{
			MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Platform: m.Platform,
		}})
	}
	if n := annotatedName(m); n != "" {
		images[i].names = append(images[i].names, n)
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
	if size, ok := s.dir.HasBlob(desc.Digest); ok && size == desc.Size {
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
	_, err := s.images.Load(ctx, nameless+desc.Digest.String(), ocispec.Platform{})
	return err
}

func document(in files, name string) ([]byte, error) {
	r, err := in.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := readLimited(r, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// openFiles opens the input; done removes what was unpacked.
func (c *cli) openFiles(ctx context.Context, s *store, from string) (in files, done func(), err error) {
	if from == "-" {
		return unpack(ctx, s.dir, c.stdin)
	}
	fi, err := os.Stat(from)
	if err != nil {
		return nil, nil, err
	}
	if fi.IsDir() {
		return openFolder(from)
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return unpack(ctx, s.dir, f)
}
