package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
)

// maxLayoutIndex is the most bytes of an index.json.
const maxLayoutIndex = 8 << 20

// Layout is an OCI image layout of this machine. Nothing of it is believed:
// what is imported has the digest that it is asked for by, and no link leads
// out of the folder.
type Layout struct {
	// Limits bounds what is imported.
	Limits Limits

	dir  string
	root *os.Root
}

// OpenLayout opens the layout in a folder.
func OpenLayout(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("OCI layout %s: %w", dir, pathless(err))
	}
	if _, err := root.Stat("index.json"); err != nil {
		root.Close()
		return nil, fmt.Errorf("%s is no OCI layout: it has no index.json", dir)
	}
	return &Layout{dir: dir, root: root}, nil
}

// Close gives back the folder.
func (l *Layout) Close() error { return l.root.Close() }

// Find returns the digest of what has the tag. An empty tag is the only entry,
// or else "latest".
func (l *Layout) Find(tag string) (digest.Digest, error) {
	f, err := l.open("index.json")
	if err != nil {
		return "", fmt.Errorf("OCI layout %s: index.json: %w", l.dir, pathless(err))
	}
	defer f.Close()
	var index struct {
		ocispec.Index
		Layers, Config json.RawMessage
	}
	if err := json.NewDecoder(io.LimitReader(f, maxLayoutIndex)).Decode(&index); err != nil {
		return "", fmt.Errorf("OCI layout %s: index.json: %w", l.dir, err)
	}
	if index.Layers != nil || index.Config != nil { // two meanings, as with a manifest
		return "", fmt.Errorf("OCI layout %s: index.json is an image and an index at once", l.dir)
	}
	if tag == "" && len(index.Manifests) == 1 {
		return index.Manifests[0].Digest, nil
	}
	if tag == "" {
		tag = "latest"
	}
	for _, m := range index.Manifests {
		if m.Annotations[ocispec.AnnotationRefName] == tag {
			return m.Digest, nil
		}
	}
	return "", fmt.Errorf("OCI layout %s: it has no image %q", l.dir, tag)
}

// Import copies into the store what root is, a manifest or an index, and of
// each image for the platform its config and layers. The zero platform is as
// for [Images.Resolve].
func (l *Layout) Import(ctx context.Context, store *cache.Dir, root digest.Digest, p ocispec.Platform) error {
	err := l.document(ctx, store, ocispec.Descriptor{Digest: root, Size: -1}, platforms.Only(wanted(p)), 0)
	if err != nil {
		return fmt.Errorf("OCI layout %s: %w", l.dir, err)
	}
	return nil
}

func (l *Layout) document(ctx context.Context, store *cache.Dir, d ocispec.Descriptor, p platforms.MatchComparer, depth int) error {
	if depth > maxIndexDepth {
		return fmt.Errorf("indexes nested deeper than %d", maxIndexDepth)
	}
	data, err := l.small(ctx, store, d, l.Limits.OrDefault().MaxManifest)
	if err != nil {
		return err
	}
	doc, err := l.Limits.parseDocument(data, d.MediaType)
	if err != nil {
		return err
	}
	if doc.index {
		for _, m := range doc.parts {
			if m.Platform != nil && !p.Match(*m.Platform) {
				continue
			}
			if err := l.document(ctx, store, m, p, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if _, err := l.small(ctx, store, doc.config, l.Limits.OrDefault().MaxConfig); err != nil {
		return err
	}
	for _, b := range doc.parts {
		if err := l.blob(ctx, store, b); err != nil {
			return err
		}
	}
	return nil
}

// small copies a manifest or a config and reads it. Where the store's own copy
// is damaged, the layout's takes its place.
func (l *Layout) small(ctx context.Context, store *cache.Dir, d ocispec.Descriptor, limit int64) (data []byte, err error) {
	err = cache.Healed(func() error {
		if err := l.blob(ctx, store, d); err != nil {
			return err
		}
		data, err = store.ReadBlob(d.Digest, limit)
		return err
	})
	return data, err
}

// open opens a file of the folder. Anything but a regular file is refused before
// it is opened: a pipe would be waited for.
func (l *Layout) open(name string) (*os.File, error) {
	fi, err := l.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, cache.ErrNotRegular
	}
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err = f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, cache.ErrNotRegular)
	}
	return f, nil
}

// blob copies one blob that the store has not.
func (l *Layout) blob(ctx context.Context, store *cache.Dir, d ocispec.Descriptor) error {
	if err := checkDescriptor(ocispec.Descriptor{Digest: d.Digest}); err != nil {
		return err
	}
	if store.Holds(d.Digest, d.Size) {
		return nil
	}
	f, err := l.open(filepath.Join("blobs", d.Digest.Algorithm().String(), d.Digest.Encoded()))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it has no blob %s", d.Digest)
	}
	if err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, pathless(err))
	}
	defer f.Close()
	return store.PutBlob(ctx, f, d.Digest, d.Size)
}

// pathless drops the path of a PathError, where ours says it better.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
