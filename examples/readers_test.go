//go:build unix

package examples

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// readers lets others read an image of the store: skopeo its archive, umoci and go-containerregistry the layout that
// skopeo makes of it. It returns where umoci has put the files, and the image's config.
func readers(t *testing.T, binary, tag string) (root, config string) {
	t.Helper()
	dir := t.TempDir()
	archive, oci := filepath.Join(dir, "image.tar"), filepath.Join(dir, "oci")
	p := &place{t: t, binary: binary, store: os.Getenv("OCIBUILD_STORE")}
	p.run("save", "-o", archive, tag)
	img := p.inspect(tag)

	var seen struct {
		Digest string
		Layers []string
	}
	if err := json.Unmarshal([]byte(output(t, "skopeo", "inspect", "oci-archive:"+archive)), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Digest != img.Digest.String() || len(seen.Layers) != len(img.Layers) {
		t.Errorf("skopeo sees %s with %d layers, want %s with %d", seen.Digest, len(seen.Layers), img.Digest, len(img.Layers))
	}
	output(t, "skopeo", "copy", "--quiet", "oci-archive:"+archive, "oci:"+oci+":x")
	checkLayout(t, oci)
	output(t, "umoci", "unpack", "--image", oci+":x", filepath.Join(dir, "bundle"))
	return filepath.Join(dir, "bundle/rootfs"), output(t, "skopeo", "inspect", "--config", "--raw", "oci:"+oci+":x")
}

// checkLayout does what crane validate does.
func checkLayout(t *testing.T, dir string) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("go-containerregistry: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%d images in the layout, want 1", len(manifest.Manifests))
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("go-containerregistry: %v", err)
	}
}

// checkNothingOfTheMachine: what the flags gave to RUN is in no layer and no config. What the base has itself stays as
// it is there; base is empty for an image of scratch.
func checkNothingOfTheMachine(t *testing.T, flags []string, root, base, config string) {
	t.Helper()
	for _, flag := range flags {
		if arg, ok := strings.CutPrefix(flag, "--build-arg="); ok {
			if _, value, _ := strings.Cut(arg, "="); strings.Contains(config, value) {
				t.Errorf("the config tells %q", arg)
			}
		}
		volume, ok := strings.CutPrefix(flag, "--volume=")
		if !ok {
			continue
		}
		target := strings.Split(volume, ":")[1]
		checkSame(t, filepath.Join(root, target), filepath.Join(base, target), base == "")
		for dir := filepath.Dir(target); dir != "/"; dir = filepath.Dir(dir) { // mount points are made with their parents
			if exists(t, filepath.Join(root, dir)) && (base == "" || !exists(t, filepath.Join(base, dir))) {
				t.Errorf("%s was made for a mount and is in the image", dir)
			}
		}
	}
	for _, name := range []string{"etc/resolv.conf", "etc/hosts"} {
		checkSame(t, filepath.Join(root, name), filepath.Join(base, name), base == "")
	}
}

func checkSame(t *testing.T, got, want string, scratch bool) {
	t.Helper()
	if scratch || !exists(t, want) {
		if exists(t, got) {
			t.Errorf("%s is of the machine and in the image", got)
		}
		return
	}
	a, err := os.ReadFile(got)
	if err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(want)
	if err != nil {
		t.Error(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s is not as it is in the base", got)
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return err == nil
}
