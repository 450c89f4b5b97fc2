package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/source/registry"
)

const (
	maxIndexDepth = 4

	dockerConfig = "application/vnd.docker.container.image.v1+json"
	dockerLayer  = "application/vnd.docker.image.rootfs.diff.tar"
)

// document is a checked manifest or index.
type document struct {
	ocispec.Descriptor // of the document itself
	raw                []byte

	index  bool
	parts  []ocispec.Descriptor // layers of an image, entries of an index
	config ocispec.Descriptor   // of an image
}

// parseDocument reads a manifest or an index of unknown good will. mediaType is
// what it was announced as, if it was.
func (l Limits) parseDocument(raw []byte, mediaType string) (*document, error) {
	l = l.OrDefault()
	var d struct {
		SchemaVersion int                   `json:"schemaVersion"`
		MediaType     string                `json:"mediaType"`
		Config        *ocispec.Descriptor   `json:"config"`
		Layers        *[]ocispec.Descriptor `json:"layers"`
		Manifests     *[]ocispec.Descriptor `json:"manifests"`
		FSLayers      json.RawMessage       `json:"fsLayers"`
	}
	if int64(len(raw)) > l.MaxManifest {
		return nil, fmt.Errorf("manifest: more than %d bytes", l.MaxManifest)
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if d.SchemaVersion == 1 || d.FSLayers != nil {
		return nil, errors.New("manifest has the obsolete schema version 1")
	}
	if d.SchemaVersion != 2 {
		return nil, fmt.Errorf("manifest has schema version %d, not 2", d.SchemaVersion)
	}
	doc := &document{raw: raw}
	doc.Digest, doc.Size = digest.FromBytes(raw), int64(len(raw))
	// Bytes with two meanings have been used to show one image and run another.
	switch {
	case d.Manifests != nil && (d.Layers != nil || d.Config != nil):
		return nil, errors.New("manifest is an image and an index at once")
	case d.Manifests != nil:
		doc.index, doc.parts = true, *d.Manifests
	case d.Config != nil && d.Layers != nil:
		doc.config, doc.parts = *d.Config, *d.Layers
	default:
		return nil, errors.New("manifest is neither an image nor an index")
	}
	if err := doc.setType(d.MediaType, mediaType); err != nil {
		return nil, err
	}
	return doc, doc.check(l)
}

// setType settles the media type of a document that names itself own and was
// announced as announced.
func (d *document) setType(own, announced string) error {
	known := []string{ocispec.MediaTypeImageManifest, registry.DockerManifest}
	if d.index {
		known = []string{ocispec.MediaTypeImageIndex, registry.DockerIndex}
	}
	generic := announced == "" || announced == "application/json" || announced == "text/plain" ||
		announced == "application/octet-stream"
	switch {
	case own == "" && generic:
		d.MediaType = known[0]
		return nil
	case own == "":
		own = announced
	case !generic && own != announced:
		return fmt.Errorf("manifest of type %q is announced as %q", own, announced)
	}
	if !slices.Contains(known, own) {
		return fmt.Errorf("manifest of type %q is not an image", own)
	}
	d.MediaType = own
	return nil
}

func (d *document) check(limits Limits) error {
	for n, p := range d.parts {
		if err := checkDescriptor(p); err != nil {
			return fmt.Errorf("manifest: entry %d: %w", n+1, err)
		}
	}
	if d.index {
		return nil
	}
	if len(d.parts) > limits.MaxLayers {
		return fmt.Errorf("manifest: %d layers, more than %d", len(d.parts), limits.MaxLayers)
	}
	if err := checkDescriptor(d.config); err != nil {
		return fmt.Errorf("manifest: config: %w", err)
	}
	if t := d.config.MediaType; t != ocispec.MediaTypeImageConfig && t != dockerConfig {
		return fmt.Errorf("not an image: its config has the media type %q", t)
	}
	if d.config.Size > limits.MaxConfig {
		return fmt.Errorf("config: %d bytes, more than %d", d.config.Size, limits.MaxConfig)
	}
	for n, l := range d.parts {
		if err := checkLayer(l); err != nil {
			return fmt.Errorf("layer %d: %w", n+1, err)
		}
	}
	return nil
}

// checkDescriptor must pass before a digest becomes part of a path or a URL.
func checkDescriptor(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest algorithm %q is not supported", d.Digest.Algorithm())
	}
	if d.Size < 0 {
		return fmt.Errorf("size %d", d.Size)
	}
	return nil
}

var layerTypes = []string{
	ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
	dockerLayer, dockerLayer + ".gzip", dockerLayer + ".zstd",
}

func checkLayer(l ocispec.Descriptor) error {
	if len(l.URLs) > 0 || strings.Contains(l.MediaType, "nondistributable") || strings.Contains(l.MediaType, "foreign") {
		return errors.New("foreign layer: its bytes are elsewhere than in the registry, which is not supported")
	}
	if !slices.Contains(layerTypes, l.MediaType) {
		return fmt.Errorf("unknown media type %q", l.MediaType)
	}
	return nil
}

// parseConfig reads the config of an image with that many layers, all of it: what
// the frontend could not read is better told here, where the image is known.
func parseConfig(raw []byte, layers int) (*dockerspec.DockerOCIImage, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return nil, errors.New("config is not a JSON object")
	}
	var c dockerspec.DockerOCIImage
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if c.RootFS.Type != "layers" && c.RootFS.Type != "" {
		return nil, fmt.Errorf("config: root file system of type %q", c.RootFS.Type)
	}
	if n := len(c.RootFS.DiffIDs); n != layers {
		return nil, fmt.Errorf("config names %d layers, the manifest %d", n, layers)
	}
	for n, id := range c.RootFS.DiffIDs {
		if err := checkDescriptor(ocispec.Descriptor{Digest: id}); err != nil {
			return nil, fmt.Errorf("config: layer %d: %w", n+1, err)
		}
	}
	return &c, nil
}

// PlatformError says that an image does not exist for a platform.
type PlatformError struct {
	Wanted ocispec.Platform
	There  []string // platforms it exists for
}

// Error implements error.
func (e *PlatformError) Error() string {
	msg := "not available for platform " + platforms.Format(e.Wanted)
	if len(e.There) == 0 {
		return msg
	}
	return msg + fmt.Sprintf(", only for %q", strings.Join(e.There, ", ")) // quoted: the names are the registry's
}

// wanted fills in what an unset platform means.
func wanted(p ocispec.Platform) ocispec.Platform {
	if p.OS == "" {
		p.OS = "linux" // whatever builds: images are for Linux
	}
	if p.Architecture == "" {
		p.Architecture = runtime.GOARCH
	}
	return platforms.Normalize(p)
}

// choose returns the entry of an index that fits the platform best.
func choose(entries []ocispec.Descriptor, p ocispec.Platform) (ocispec.Descriptor, error) {
	matcher := platforms.Only(p)
	var fitting, nested, nameless []ocispec.Descriptor
	missing := &PlatformError{Wanted: p}
	for _, e := range entries {
		isIndex := e.MediaType == ocispec.MediaTypeImageIndex || e.MediaType == registry.DockerIndex
		switch {
		case isIndex && (e.Platform == nil || matcher.Match(*e.Platform)):
			nested = append(nested, e)
		case e.Platform == nil:
			nameless = append(nameless, e)
		case matcher.Match(*e.Platform):
			fitting = append(fitting, e)
		case e.Platform.OS != "unknown" && len(missing.There) < 30: // attestations are for "unknown"
			missing.There = append(missing.There, platforms.Format(*e.Platform))
		}
	}
	slices.SortStableFunc(fitting, func(a, b ocispec.Descriptor) int {
		switch {
		case matcher.Less(*a.Platform, *b.Platform):
			return -1
		case matcher.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	for _, found := range [][]ocispec.Descriptor{fitting, nested, nameless} {
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return ocispec.Descriptor{}, missing
}
