package cache

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// AnnotationName is the annotation of index.json that holds a full image name,
// as containerd and others write it.
const AnnotationName = "io.containerd.image.name"

const indexOfNames = "list of image names (index.json)"

// Tagged is an image of the store under one of its names.
type Tagged struct {
	Name       string // full reference, "docker.io/library/busybox:latest"
	Descriptor ocispec.Descriptor
}

// Tags returns the images of the store, sorted by name.
func (d *Dir) Tags() ([]Tagged, error) {
	idx, err := d.readIndex()
	if err != nil {
		return nil, err
	}
	var tags []Tagged
	for _, m := range idx.Manifests {
		if name := m.Annotations[AnnotationName]; name != "" {
			tags = append(tags, Tagged{Name: name, Descriptor: m})
		}
	}
	slices.SortFunc(tags, func(a, b Tagged) int { return cmp.Compare(a.Name, b.Name) })
	return tags, nil
}

// Resolve returns the manifest or index tagged name; the error is
// fs.ErrNotExist if there is none.
func (d *Dir) Resolve(name string) (ocispec.Descriptor, error) {
	idx, err := d.readIndex()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, m := range idx.Manifests {
		if m.Annotations[AnnotationName] == name {
			return m, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("image %q: %w", name, fs.ErrNotExist)
}

// Tag names the image; another image that had the name loses it. A tag that
// says the same already costs one read.
func (d *Dir) Tag(name string, desc ocispec.Descriptor) error {
	if have, err := d.Resolve(name); err == nil && have.Digest == desc.Digest {
		return nil
	}
	desc.Annotations = map[string]string{AnnotationName: name}
	if tag := tagOf(name); tag != "" {
		desc.Annotations[ocispec.AnnotationRefName] = tag
	}
	return d.changeIndex(func(ms []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		ms = slices.DeleteFunc(ms, func(m ocispec.Descriptor) bool { return m.Annotations[AnnotationName] == name })
		return append(ms, desc), nil
	})
}

// Untag removes the name; the error is fs.ErrNotExist if there is none.
func (d *Dir) Untag(name string) error {
	return d.changeIndex(func(ms []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		n := len(ms)
		ms = slices.DeleteFunc(ms, func(m ocispec.Descriptor) bool { return m.Annotations[AnnotationName] == name })
		if len(ms) == n {
			return nil, fmt.Errorf("image %q: %w", name, fs.ErrNotExist)
		}
		return ms, nil
	})
}

func (d *Dir) changeIndex(change func([]ocispec.Descriptor) ([]ocispec.Descriptor, error)) error {
	unlock, err := d.Lock(context.Background(), "index.json")
	if err != nil {
		return err
	}
	defer unlock()
	idx, err := d.readIndex()
	if err != nil {
		return err
	}
	if idx.Manifests, err = change(idx.Manifests); err != nil {
		return err
	}
	data, err := json.Marshal(idx)
	if err != nil {
		return err
	}
	return d.replace(d.sub("index.json"), data)
}

func (d *Dir) readIndex() (*ocispec.Index, error) {
	idx := &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	idx.Manifests = []ocispec.Descriptor{}
	empty := *idx
	data, err := d.readFile(indexOfNames, d.sub("index.json"))
	if err == nil {
		if err = json.Unmarshal(data, idx); err != nil {
			err = d.setAside(indexOfNames, d.sub("index.json"), nil, err)
		}
	}
	if _, damaged := errors.AsType[*DamagedError](err); damaged || errors.Is(err, fs.ErrNotExist) {
		return &empty, nil // the images are built or pulled again; what is left of their names lies in damaged/
	}
	if err != nil {
		return nil, err
	}
	return idx, nil
}

// tagOf returns the tag of a full reference, without its digest if it has one.
func tagOf(name string) string {
	for i := len(name) - 1; i >= 0 && name[i] != '/' && name[i] != '@'; i-- {
		if name[i] == ':' {
			return name[i+1:]
		}
	}
	return ""
}
