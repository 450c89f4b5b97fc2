package registry

import (
	"cmp"
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifest is the most bytes a manifest or an index may have, unless the
// Repository says otherwise.
const MaxManifest = 4 << 20

// Media types of Docker's, which registries still serve.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

var manifestTypes = http.Header{"Accept": {strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, DockerIndex, DockerManifest,
}, ", ")}}

// Repository is one repository of a registry and of that registry's mirrors.
type Repository struct {
	// MaxManifest is the most bytes of a manifest; zero means the constant.
	MaxManifest int64

	registries *Registries
	full       string
	host, path string
	mirrors    []endpoint
	home       endpoint // the registry itself
}

// Name returns the full name, registry included.
func (p *Repository) Name() string { return p.full }

// Host returns the registry as the user knows it.
func (p *Repository) Host() string { return p.host }

// Head asks what ref, a tag or a digest, stands for now. The digest is empty if
// the registry does not tell.
func (p *Repository) Head(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	var desc ocispec.Descriptor
	err := p.each(ctx, func(c *conn) error {
		resp, err := c.send(ctx, request{
			method: http.MethodHead, url: c.url("manifests/"+ref, nil), header: manifestTypes,
		}, http.StatusOK, http.StatusMethodNotAllowed)
		if err != nil {
			return err
		}
		resp.Body.Close()
		desc = ocispec.Descriptor{MediaType: mediaType(resp), Size: resp.ContentLength}
		if d := digest.Digest(resp.Header.Get("Docker-Content-Digest")); d.Validate() == nil {
			desc.Digest = d
		}
		return nil
	})
	return desc, err
}

// Manifest returns the manifest or index that ref, a tag or a digest, stands
// for. Its digest is checked; nothing else is.
func (p *Repository) Manifest(ctx context.Context, ref string) ([]byte, ocispec.Descriptor, error) {
	var (
		data []byte
		desc ocispec.Descriptor
	)
	err := p.each(ctx, func(c *conn) error {
		resp, err := c.send(ctx, request{
			method: http.MethodGet, url: c.url("manifests/"+ref, nil), header: manifestTypes,
		}, http.StatusOK)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if data, err = readAll(resp, cmp.Or(p.MaxManifest, MaxManifest)); err != nil {
			return c.explain(fmt.Errorf("manifest: %w", err))
		}
		desc = ocispec.Descriptor{MediaType: mediaType(resp), Digest: digest.FromBytes(data), Size: int64(len(data))}
		for _, want := range []string{ref, resp.Header.Get("Docker-Content-Digest")} {
			if strings.HasPrefix(want, "sha256:") && want != desc.Digest.String() {
				return c.explain(fmt.Errorf("manifest %s has the digest %s", clean(want), desc.Digest))
			}
		}
		return nil
	})
	return data, desc, err
}

func mediaType(resp *http.Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}
