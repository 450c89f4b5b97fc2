package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/layer"
)

// store is the local store and the images in it.
type store struct {
	dir        *cache.Dir
	images     *source.Images
	registries *builder.Registries
	damaged    atomic.Bool // something of the store was set aside
}

// openStore opens the store; f may be nil where no registry is wanted.
func (c *cli) openStore(f *registryFlags) (*store, error) {
	if f == nil {
		f = &registryFlags{}
	}
	registries, err := f.registries()
	if err != nil {
		return nil, err
	}
	path := c.store
	if path == "" {
		var notice string
		if path, notice, err = cache.DefaultDir(); err != nil {
			return nil, err
		}
		if notice != "" {
			fmt.Fprintln(c.stderr, "ocibuild:", notice)
		}
	}
	dir, err := cache.OpenDir(path)
	if err != nil {
		return nil, err
	}
	s := &store{
		dir: dir, registries: registries,
		images: &source.Images{Store: &faces.Store{Dir: dir}, Registries: registries},
	}
	dir.OnDamage = func(e *cache.DamagedError) {
		s.damaged.Store(true)
		fmt.Fprintf(c.stderr, "ocibuild: %v; it was set aside\n", e)
	}
	return s, nil
}

// nameless stands before the digest of an image that was given without a name:
// every reference has one.
const nameless = "localhost/nameless@"

// name completes an image name as users write it, or the digest of an image.
func name(arg string) (reference.Named, error) {
	if d, err := digest.Parse(arg); err == nil {
		arg = nameless + d.String()
	}
	named, err := source.ParseName(arg)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return named, nil
}

// tagName is name for what an image is to be called.
func tagName(arg string) (string, error) {
	named, err := name(arg)
	if err != nil {
		return "", err
	}
	if _, ok := named.(reference.Digested); ok {
		return "", usagef("image %q: a digest cannot be chosen", arg)
	}
	return named.String(), nil
}

// image finds an image of the store; of an index, that for the platform, or for
// this machine if p is nil.
func (s *store) image(ctx context.Context, arg string, p *ocispec.Platform) (*source.Image, error) {
	named, err := name(arg)
	if err != nil {
		return nil, err
	}
	var of ocispec.Platform
	if p != nil {
		of = *p
	}
	img, err := s.images.Load(ctx, named.String(), of)
	if errors.Is(err, fs.ErrNotExist) {
		if _, rerr := s.dir.Resolve(named.String()); rerr != nil {
			return nil, s.missing(arg)
		}
	}
	// A name may stand for one image, which Load takes whatever it is for.
	if err == nil && p != nil && !platforms.Only(*p).Match(img.Platform) {
		err = &source.PlatformError{Wanted: *p, There: []string{platforms.Format(img.Platform)}}
		return nil, fmt.Errorf("image %q: %w", arg, err)
	}
	return img, err
}

// result makes what sinks take of what a name stands for, under the names: an
// image, or of an index the image for one platform if p says which.
func (s *store) result(ctx context.Context, arg string, p *ocispec.Platform, names ...string) (*builder.Result, error) {
	named, err := name(arg)
	if err != nil {
		return nil, err
	}
	if p != nil {
		img, err := s.image(ctx, arg, p)
		if err != nil {
			return nil, err
		}
		return &builder.Result{Names: names, Descriptor: img.Manifest, Images: []*builder.Image{finished(img)}}, nil
	}
	all, err := s.images.LoadAll(ctx, named.String())
	if errors.Is(err, fs.ErrNotExist) {
		if _, rerr := s.dir.Resolve(named.String()); rerr != nil {
			return nil, s.missing(arg)
		}
	}
	if err != nil {
		return nil, err
	}
	r := &builder.Result{Names: names, Descriptor: all.Root, Index: all.Index}
	for _, img := range all.Images {
		r.Images = append(r.Images, finished(img))
	}
	return r, nil
}

// hand gives a sink what a name stands for, once more for each layer that turns
// out to be damaged on the way and is pulled again.
func (s *store) hand(ctx context.Context, sink builder.Sink, arg string, p *ocispec.Platform, names ...string) (r *builder.Result, err error) {
	err = cache.Healed(func() error {
		s.images.Store = &faces.Store{Dir: s.dir}
		if r, err = s.result(ctx, arg, p, names...); err == nil {
			err = sink.Write(ctx, r)
		}
		return err
	})
	if err != nil && s.damaged.Load() {
		for _, img := range imagesOf(r) {
			_ = s.verify(ctx, img.Layers) // so that all of it is made again at once
		}
		err = s.unhealed(arg, err)
	}
	return r, err
}

func (s *store) unhealed(arg string, err error) error {
	return fmt.Errorf("image %q is damaged in the store and cannot be pulled again: build or load it again: %w", familiar(arg), err)
}

func imagesOf(r *builder.Result) []*builder.Image {
	if r == nil {
		return nil
	}
	return r.Images
}

// verify sets aside the damaged ones of some layers, and returns the first damage.
func (s *store) verify(ctx context.Context, layers []*layer.Layer) error {
	var first error
	for _, l := range layers {
		d, err := l.Descriptor(ctx)
		if err != nil || ctx.Err() != nil {
			continue
		}
		err = s.dir.VerifyBlob(d.Digest, d.Size)
		if _, damaged := errors.AsType[*cache.DamagedError](err); damaged && first == nil {
			first = err
		}
	}
	return first
}

func (s *store) missing(arg string) error {
	return fmt.Errorf("image %q is not in the store %s", familiar(arg), s.dir.Path())
}

func finished(img *source.Image) *builder.Image {
	return &builder.Image{Manifest: img.Document, Config: img.Config, Descriptor: img.Manifest, Layers: img.Layers}
}

// onePlatform reads a --platform that must be one; nil if it is not given.
func onePlatform(flag string) (*ocispec.Platform, error) {
	ps, err := platformsOf(flag)
	switch {
	case err != nil || len(ps) == 0:
		return nil, err
	case len(ps) > 1:
		return nil, usagef("--platform %q: one platform at a time", flag)
	}
	return &ps[0], nil
}

// familiar shortens a reference to what people write.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}
