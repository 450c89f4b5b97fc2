package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/source/registry"
	"github.com/ocibuild/ocibuild/layer"
)

// Registries reaches registries; see package registry.
type Registries = registry.Registries

// Counter counts the bytes that went over the network.
type Counter = registry.Counter

// Mode says where an image is looked for.
type Mode int

// The modes of Resolve.
const (
	PreferLocal Mode = iota // the store, then the registry
	Pull                    // what the registry has now
	LocalOnly               // the store; the network is not used
)

// Image is an image for one platform: everything about it but its layers'
// bytes is here.
type Image struct {
	Name     string             // full reference
	Root     ocispec.Descriptor // what the name stands for: an index, or Manifest
	Digest   digest.Digest      // of Manifest
	Manifest ocispec.Descriptor
	Document []byte // the manifest's bytes
	// Platform is what the config says. It may differ from the one asked for
	// when the name stands for one manifest and not for an index.
	Platform     ocispec.Platform
	Config       []byte // the config's bytes
	ConfigDigest digest.Digest
	Layers       []*layer.Layer
}

// Images finds images by name.
type Images struct {
	Store      *faces.Store
	Registries *Registries
	Limits     Limits // of what the documents of an image may claim
	Offline    bool   // what is damaged in the store is not pulled again
}

// ParseName completes a name as users write it: "busybox" is
// "docker.io/library/busybox:latest".
func ParseName(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	return reference.TagNameOnly(named), nil
}

// Resolve finds the image for the platform; the zero platform is Linux on this
// machine's architecture. Nothing of its layers is read. Manifests and configs
// are kept in the store, so the same image again costs one question to the
// registry, and none if ref has a digest.
func (i *Images) Resolve(ctx context.Context, ref string, p ocispec.Platform, mode Mode) (*Image, error) {
	named, err := ParseName(ref)
	if err != nil {
		return nil, err
	}
	p = wanted(p)
	var local error
	if mode != Pull {
		img, err := i.stored(ctx, named, &p, mode)
		if err == nil {
			return img, nil
		}
		local = fmt.Errorf("image %q: %w", named, err)
		if mode == LocalOnly || ctx.Err() != nil {
			return nil, local
		}
	}
	img, err := i.remote(ctx, named, p)
	if err == nil {
		return img, nil
	}
	err = fmt.Errorf("image %q: %w", named, err)
	if local != nil && !errors.Is(local, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; in the store: %w", err, errors.Unwrap(local))
	}
	return nil, err
}

// Load returns the image stored under that name, for whatever platform it is;
// of an index, the image for p.
func (i *Images) Load(ctx context.Context, ref string, p ocispec.Platform) (*Image, error) {
	named, err := ParseName(ref)
	if err != nil {
		return nil, err
	}
	l := &lookup{images: i, named: named, platform: wanted(p)}
	if l.layers, err = i.Registries.Repository(named.Name()); err != nil {
		return nil, err
	}
	root, err := l.stored()
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", named, err)
	}
	img, err := l.image(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", named, err)
	}
	return img, nil
}

// Layer returns a layer that is in the store, or can be had from its origin.
func (i *Images) Layer(l cache.Layer) (*layer.Layer, error) {
	if err := checkDescriptor(ocispec.Descriptor{Digest: l.Digest, Size: l.Size}); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	if l.Origin == "" {
		return i.Store.Local(l), nil
	}
	repo, err := i.Registries.Repository(l.Origin)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Digest, err)
	}
	return i.Store.Remote(l, repo), nil
}

func (i *Images) stored(ctx context.Context, named reference.Named, p *ocispec.Platform, mode Mode) (*Image, error) {
	l := &lookup{images: i, named: named, platform: *p}
	if mode != LocalOnly {
		var err error
		if l.layers, err = i.Registries.Repository(named.Name()); err != nil {
			return nil, err
		}
	}
	root, err := l.stored()
	if err != nil {
		return nil, err
	}
	img, err := l.image(ctx, root)
	if err != nil {
		return nil, err
	}
	// A name in the store stands for the one platform that was built or pulled
	// last; a digest says exactly what is meant.
	_, digested := named.(reference.Digested)
	if !digested && !platforms.Only(*p).Match(img.Platform) {
		return nil, &PlatformError{Wanted: *p, There: []string{platforms.Format(img.Platform)}}
	}
	if mode == LocalOnly {
		return img, l.complete(ctx, img)
	}
	return img, nil
}

func (i *Images) remote(ctx context.Context, named reference.Named, p ocispec.Platform) (*Image, error) {
	repo, err := i.Registries.Repository(named.Name())
	if err != nil {
		return nil, err
	}
	repo.MaxManifest = i.Limits.MaxManifest
	l := &lookup{images: i, named: named, platform: p, documents: repo, layers: repo}
	root, err := l.ask(ctx)
	if err != nil {
		return nil, err
	}
	return l.image(ctx, root)
}

// lookup is one search for one image.
type lookup struct {
	images    *Images
	named     reference.Named
	platform  ocispec.Platform
	documents *registry.Repository // of manifests and configs the store has not; nil: nowhere
	layers    *registry.Repository // the same for layers
}

// stored returns what the name stands for in the store.
func (l *lookup) stored() (ocispec.Descriptor, error) {
	d, ok := l.named.(reference.Digested)
	if !ok {
		return l.images.Store.Dir.Resolve(l.named.String())
	}
	desc := ocispec.Descriptor{Digest: d.Digest()}
	if err := checkDescriptor(desc); err != nil {
		return desc, err
	}
	if desc.Size, ok = l.images.Store.Dir.HasBlob(desc.Digest); !ok {
		return desc, fs.ErrNotExist
	}
	return desc, nil
}

// ask returns what the name stands for in the registry.
func (l *lookup) ask(ctx context.Context) (ocispec.Descriptor, error) {
	if d, ok := l.named.(reference.Digested); ok {
		desc := ocispec.Descriptor{Digest: d.Digest(), Size: -1}
		return desc, checkDescriptor(ocispec.Descriptor{Digest: d.Digest()})
	}
	tag := l.named.(reference.Tagged).Tag() // ParseName saw to it
	desc, err := l.documents.Head(ctx, tag)
	if errors.Is(err, registry.ErrNotFound) {
		return desc, err
	}
	if err == nil && desc.Digest != "" && desc.Digest.Algorithm() == digest.SHA256 {
		return ocispec.Descriptor{Digest: desc.Digest, Size: -1}, nil // the digest says it all
	}
	if failed, ok := errors.AsType[*registry.Error](err); ok && failed.Status == 0 {
		return desc, err // nobody is there, and all tries were made
	}
	// Some registries do not answer HEAD as they should.
	data, desc, err := l.documents.Manifest(ctx, tag)
	if err != nil {
		return desc, err
	}
	return desc, l.keep(ctx, data, desc.Digest)
}

// image follows root to the image for the platform.
func (l *lookup) image(ctx context.Context, root ocispec.Descriptor) (*Image, error) {
	next := root
	for depth := range maxIndexDepth {
		doc, err := l.document(ctx, next)
		if err != nil {
			return nil, err
		}
		if depth == 0 {
			root = doc.Descriptor
		}
		if !doc.index {
			return l.assemble(ctx, root, doc)
		}
		if next, err = choose(doc.parts, l.platform); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("indexes nested deeper than %d", maxIndexDepth)
}

func (l *lookup) document(ctx context.Context, desc ocispec.Descriptor) (*document, error) {
	raw, err := l.images.Store.Dir.ReadBlob(desc.Digest, l.images.Limits.OrDefault().MaxManifest)
	if from := l.origin(err); from != nil {
		damage := err
		var got ocispec.Descriptor
		if raw, got, err = from.Manifest(ctx, desc.Digest.String()); err == nil {
			desc.MediaType = cmp.Or(desc.MediaType, got.MediaType)
			err = l.keep(ctx, raw, desc.Digest)
		}
		err = l.lost(damage, err)
	}
	if err != nil {
		return nil, err
	}
	if desc.Size >= 0 && desc.Size != int64(len(raw)) {
		return nil, fmt.Errorf("manifest %s has %d bytes, %d were announced", desc.Digest, len(raw), desc.Size)
	}
	doc, err := l.images.Limits.parseDocument(raw, desc.MediaType)
	if err != nil {
		return nil, err
	}
	doc.Platform = desc.Platform
	return doc, nil
}

func (l *lookup) assemble(ctx context.Context, root ocispec.Descriptor, doc *document) (*Image, error) {
	raw, err := l.config(ctx, doc.config)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	config, err := parseConfig(raw, len(doc.parts))
	if err != nil {
		return nil, err
	}
	img := &Image{
		Name: l.named.String(), Root: root, Digest: doc.Digest, Manifest: doc.Descriptor, Document: doc.raw,
		Platform: platforms.Normalize(config.Platform), Config: raw, ConfigDigest: doc.config.Digest,
	}
	for n, part := range doc.parts {
		img.Layers = append(img.Layers, l.layer(cache.Layer{
			DiffID: config.RootFS.DiffIDs[n], Digest: part.Digest, Size: part.Size,
			MediaType: part.MediaType, Annotations: part.Annotations, Origin: l.named.Name(),
		}))
	}
	return img, nil
}

func (l *lookup) layer(c cache.Layer) *layer.Layer {
	if l.layers == nil {
		return l.images.Store.Local(c)
	}
	return l.images.Store.Remote(c, l.layers)
}

func (l *lookup) config(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	raw, err := l.images.Store.Dir.ReadBlob(desc.Digest, l.images.Limits.OrDefault().MaxConfig)
	if err == nil && int64(len(raw)) != desc.Size {
		return nil, fmt.Errorf("%s has %d bytes, %d were announced", desc.Digest, len(raw), desc.Size)
	}
	from := l.origin(err)
	if from == nil {
		return raw, err
	}
	if ferr := l.fetch(ctx, from, desc); ferr != nil {
		return nil, l.lost(err, ferr)
	}
	return l.images.Store.Dir.ReadBlob(desc.Digest, desc.Size) // which was checked
}

// fetch brings a blob into the store.
func (l *lookup) fetch(ctx context.Context, from *registry.Repository, desc ocispec.Descriptor) error {
	dir := l.images.Store.Dir
	unlock, err := dir.Lock(ctx, "blob "+desc.Digest.String())
	if err != nil {
		return err
	}
	defer unlock()
	return dir.FetchBlob(ctx, desc.Digest, desc.Size, func(offset int64) (io.ReadCloser, error) {
		return from.Fetch(ctx, desc, offset)
	})
}

// origin is where a document can be had that reading it from the store has failed
// for: of an image of the store, only a damaged one is asked for.
func (l *lookup) origin(err error) *registry.Repository {
	if _, damaged := errors.AsType[*cache.DamagedError](err); damaged && l.documents == nil && !l.images.Offline {
		return l.layers
	}
	if err == nil {
		return nil
	}
	return l.documents
}

// lost says of a damaged document why it cannot be had again, if it cannot.
func (l *lookup) lost(damage, err error) error {
	if _, damaged := errors.AsType[*cache.DamagedError](damage); !damaged || err == nil {
		return err
	}
	return fmt.Errorf("%w; it cannot be pulled again (%w): build or load the image again", damage, err)
}

func (l *lookup) keep(ctx context.Context, data []byte, d digest.Digest) error {
	return l.images.Store.Dir.PutBlob(ctx, bytes.NewReader(data), d, int64(len(data)))
}

// complete checks that the layers can be had without a network.
func (l *lookup) complete(ctx context.Context, img *Image) error {
	for _, one := range img.Layers {
		desc, err := one.Descriptor(ctx)
		if err != nil {
			return err
		}
		if _, ok := l.images.Store.Dir.HasBlob(desc.Digest); !ok {
			return fmt.Errorf("layer %s is not in the store", desc.Digest)
		}
	}
	return nil
}
