package source

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Stored is what a name stands for in the store: an image, or an index.
type Stored struct {
	Root   ocispec.Descriptor
	Index  []byte // the index's bytes; nil for an image
	Images []*Image
}

// LoadAll returns all images that are stored under a name. An index with an
// image that is not in the store is an error.
func (i *Images) LoadAll(ctx context.Context, ref string) (*Stored, error) {
	named, err := ParseName(ref)
	if err != nil {
		return nil, err
	}
	l := &lookup{images: i, named: named}
	if l.layers, err = i.Registries.Repository(named.Name()); err != nil {
		return nil, err
	}
	s := &Stored{}
	if err := l.all(ctx, s); err != nil {
		return nil, fmt.Errorf("image %q: %w", named, err)
	}
	return s, nil
}

func (l *lookup) all(ctx context.Context, s *Stored) error {
	root, err := l.stored()
	if err != nil {
		return err
	}
	doc, err := l.document(ctx, root)
	if err != nil {
		return err
	}
	s.Root = doc.Descriptor
	if !doc.index {
		img, err := l.assemble(ctx, s.Root, doc)
		s.Images = []*Image{img}
		return err
	}
	s.Index = doc.raw
	for _, part := range doc.parts {
		entry, err := l.document(ctx, part)
		if err != nil {
			return fmt.Errorf("%s of the index: %w", part.Digest, err)
		}
		if entry.index {
			return fmt.Errorf("%s of the index is an index itself, which is not supported", part.Digest)
		}
		img, err := l.assemble(ctx, s.Root, entry)
		if err != nil {
			return fmt.Errorf("%s of the index: %w", part.Digest, err)
		}
		s.Images = append(s.Images, img)
	}
	return nil
}
