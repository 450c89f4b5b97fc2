package builder

import (
	"fmt"
	"maps"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotated is a document, or the descriptor of one, that annotations stand on.
type Annotated string

// What can be annotated. The index exists for several platforms only.
const (
	OnManifest           Annotated = "manifest"            // image-spec, manifest.md
	OnManifestDescriptor Annotated = "manifest-descriptor" // in the index, or in a layout
	OnIndex              Annotated = "index"               // image-spec, image-index.md
	OnIndexDescriptor    Annotated = "index-descriptor"    // in a layout
)

// Annotation is one annotation of a result (image-spec, annotations.md).
type Annotation struct {
	On Annotated // empty means OnManifest
	// Platform limits a manifest's annotation to one of several; nil means all.
	Platform   *ocispec.Platform
	Key, Value string
}

// validateAnnotations refuses what would be nowhere.
func (o *Options) validateAnnotations() error {
	for _, a := range o.Annotations {
		switch {
		case a.Key == "":
			return &OptionError{"annotation", fmt.Sprintf("%q has no key", a.Value)}
		case a.On == OnIndex || a.On == OnIndexDescriptor:
			if !o.multiPlatform() {
				return &OptionError{"annotation", fmt.Sprintf("%s: a result for one platform has no index", a.Key)}
			}
			if a.Platform != nil {
				return &OptionError{"annotation", fmt.Sprintf("%s: an index is for all platforms", a.Key)}
			}
		case a.On != "" && a.On != OnManifest && a.On != OnManifestDescriptor:
			return &OptionError{"annotation", fmt.Sprintf("%s: %q is not one of manifest, manifest-descriptor, index, index-descriptor", a.Key, a.On)}
		}
	}
	return nil
}

// annotations returns those of one kind, for one platform; those that name the
// platform win. Nil means none.
func (o *Options) annotations(on Annotated, p *ocispec.Platform) map[string]string {
	general, special := map[string]string{}, map[string]string{}
	for _, a := range o.Annotations {
		if a.On != on && (a.On != "" || on != OnManifest) {
			continue
		}
		switch {
		case a.Platform == nil:
			general[a.Key] = a.Value
		case p != nil && platforms.OnlyStrict(*a.Platform).Match(*p):
			special[a.Key] = a.Value
		}
	}
	maps.Copy(general, special)
	if len(general) == 0 {
		return nil
	}
	return general
}
