package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/tools/txtar"
)

// Registry is a registry on loopback that has the base images, under the names
// that they would have on Docker Hub.
type Registry struct{ server *httptest.Server }

// Host is its address.
func (r *Registry) Host() string { return r.server.Listener.Addr().String() }

// Close ends it.
func (r *Registry) Close() { r.server.Close() }

// StartRegistry makes an image of every file in dir.
func StartRegistry(ctx context.Context, dir string) (*Registry, error) {
	r := &Registry{server: httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))}
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := r.add(ctx, f); err != nil {
			r.Close()
			return nil, fmt.Errorf("base image %s: %w", f, err)
		}
	}
	return r, nil
}

// add pushes the image of one file: "config.json", with "annotations" and a list
// of "platforms" beside what a config has, and layers, which are listings.
func (r *Registry) add(ctx context.Context, file string) error {
	a, err := txtar.ParseFile(file)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(r.Host()+"/library/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), name.Insecure)
	if err != nil {
		return err
	}
	var layers []v1.Layer
	config := []byte("{}")
	for _, f := range a.Files {
		if f.Name == "config.json" {
			config = f.Data
			continue
		}
		l, err := listed(string(f.Data))
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	var about struct{ Platforms []v1.Platform }
	if err := json.Unmarshal(config, &about); err != nil {
		return err
	}
	if len(about.Platforms) == 0 {
		img, err := image(config, layers, v1.Platform{OS: "linux", Architecture: "amd64"})
		if err != nil {
			return err
		}
		return remote.Write(ref, img, remote.WithContext(ctx))
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range about.Platforms {
		img, err := image(config, layers, p)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return remote.WriteIndex(ref, index, remote.WithContext(ctx))
}

// listed makes a layer of a listing.
func listed(text string) (v1.Layer, error) {
	var raw bytes.Buffer
	if err := writeListing(&raw, text); err != nil {
		return nil, err
	}
	return static.NewLayer(raw.Bytes(), types.OCIUncompressedLayer), nil
}

// image has the config as it is written: nothing that ggcr does not know is lost.
func image(config []byte, layers []v1.Layer, p v1.Platform) (v1.Image, error) {
	var c map[string]any
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	var about struct{ Annotations map[string]string }
	if err := json.Unmarshal(config, &about); err != nil {
		return nil, err
	}
	delete(c, "platforms")
	delete(c, "annotations")
	set := func(k string, v any) {
		if _, ok := c[k]; !ok {
			c[k] = v
		}
	}
	set("os", p.OS)
	set("architecture", p.Architecture)
	if p.Variant != "" {
		set("variant", p.Variant)
	}
	ids := []v1.Hash{}
	for _, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	c["rootfs"] = v1.RootFS{Type: "layers", DiffIDs: ids}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return fixed(data, about.Annotations, slices.Clone(layers))
}
