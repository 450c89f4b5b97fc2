package suite

import (
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// layoutConfig is that of images in layouts.
const layoutConfig = `{"config":{"Env":["PATH=/bin","LAYOUT=yes"]},"created":"2019-05-06T07:08:09Z","history":[{"created_by":"a layout"}]}`

// writeLayout makes an OCI layout with one image, of one layer, and removes the
// layer's listing.
func writeLayout(dir, to, listing string) error {
	from := filepath.Join(dir, listing)
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	l, err := listed(string(text))
	if err != nil {
		return err
	}
	img, err := image([]byte(layoutConfig), []v1.Layer{l}, v1.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		return err
	}
	path, err := layout.Write(filepath.Join(dir, to), empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendImage(img); err != nil {
		return err
	}
	return os.Remove(from)
}

// LayoutDigest is the digest of the image in a layout.
func LayoutDigest(dir string) (string, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return "", err
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) == 0 {
		return "", err
	}
	return m.Manifests[0].Digest.String(), nil
}
