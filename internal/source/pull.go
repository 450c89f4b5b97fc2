package source

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// pullJobs is how many layers are fetched at once: enough to fill a line whose
// registry limits each connection, few enough for registries that count them.
const pullJobs = 4

// PullProgress is told how far each layer is; calls for different layers may
// come at the same time.
type PullProgress func(blob digest.Digest, current, total int64)

// Pull brings the image that the registry has now into the store, with all its
// blobs, and gives it its name there.
func (i *Images) Pull(ctx context.Context, ref string, p ocispec.Platform, progress PullProgress) (*Image, error) {
	img, err := i.Resolve(ctx, ref, p, Pull)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(digest.Digest, int64, int64) {}
	}
	group, ctx2 := errgroup.WithContext(ctx)
	group.SetLimit(pullJobs)
	for _, l := range img.Layers {
		group.Go(func() error { return i.pullLayer(ctx2, img, l, progress) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("image %q: %w", img.Name, err)
	}
	desc := img.Manifest
	desc.Platform = &img.Platform
	if err := i.Store.Dir.Tag(img.Name, desc); err != nil {
		return nil, fmt.Errorf("image %q: %w", img.Name, err)
	}
	return img, nil
}

func (i *Images) pullLayer(ctx context.Context, img *Image, l *layer.Layer, progress PullProgress) error {
	desc, err := l.Descriptor(ctx)
	if err != nil {
		return err
	}
	// One process fetches, under the lock that a layer's own Blob takes.
	unlock, err := i.Store.Dir.Lock(ctx, "blob "+desc.Digest.String())
	if err != nil {
		return err
	}
	defer unlock()
	if i.Store.Dir.Holds(desc.Digest, desc.Size) {
		progress(desc.Digest, desc.Size, desc.Size)
		return nil
	}
	named, err := ParseName(img.Name)
	if err != nil {
		return err
	}
	repo, err := i.Registries.Repository(named.Name())
	if err != nil {
		return err
	}
	return i.Store.Dir.FetchBlob(ctx, desc.Digest, desc.Size, func(offset int64) (io.ReadCloser, error) {
		r, err := repo.Fetch(ctx, desc, offset)
		if err != nil {
			return nil, err
		}
		return &progressReader{ReadCloser: r, n: offset, report: func(n int64) { progress(desc.Digest, n, desc.Size) }}, nil
	})
}

type progressReader struct {
	io.ReadCloser
	n      int64
	report func(int64)
}

// Reject implements cache.Rejecter.
func (p *progressReader) Reject(why error) bool {
	r, ok := p.ReadCloser.(cache.Rejecter)
	return ok && r.Reject(why)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.n += int64(n)
	p.report(p.n)
	return n, err
}
