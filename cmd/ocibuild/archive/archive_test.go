package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/source"
)

type member struct{ name, data, link string }

func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(m.data))}
		if m.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func testStore(t *testing.T) *store {
	t.Helper()
	dir, err := cache.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &store{dir: dir, images: &source.Images{Store: &faces.Store{Dir: dir}, Registries: &source.Registries{}}}
}

func loadTar(t *testing.T, s *store, data []byte) ([]Image, error) {
	t.Helper()
	return Load(context.Background(), s.images, "-", bytes.NewReader(data))
}

func blobOf(data string) member {
	return member{name: "blobs/sha256/" + digest.FromString(data).Encoded(), data: data}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// layoutOf is an OCI layout of one image with one layer.
func layoutOf(t *testing.T) (manifest string, members []member) {
	t.Helper()
	layer := string(tarOf(t, member{name: "file", data: "content"}))
	config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[%q]}}`, digest.FromString(layer))
	manifest = asJSON(t, ocispec.Manifest{
		Config: described(ocispec.MediaTypeImageConfig, []byte(config)),
		Layers: []ocispec.Descriptor{described(ocispec.MediaTypeImageLayer, []byte(layer))},
	})
	manifest = strings.Replace(manifest, `"schemaVersion":0`, `"schemaVersion":2`, 1)
	return manifest, []member{blobOf(layer), blobOf(config), blobOf(manifest)}
}

func indexOf(t *testing.T, descs ...ocispec.Descriptor) member {
	return member{name: "index.json", data: asJSON(t, ocispec.Index{Manifests: descs})}
}

func TestLoadTakesWhatIsWhole(t *testing.T) {
	s := testStore(t)
	manifest, members := layoutOf(t)
	images, err := loadTar(t, s, tarOf(t, append(members, indexOf(t, described(ocispec.MediaTypeImageManifest, []byte(manifest))))...))
	if err != nil || len(images) != 1 || images[0].Descriptor.Digest != digest.FromString(manifest) {
		t.Fatalf("got %v, %v", images, err)
	}
}

func TestLoadRefusesWhatIsNot(t *testing.T) {
	manifest, members := layoutOf(t)
	desc := described(ocispec.MediaTypeImageManifest, []byte(manifest))
	changed := func(f func(*ocispec.Descriptor)) ocispec.Descriptor {
		d := desc
		f(&d)
		return d
	}
	evil := func(name string) member {
		for _, m := range members {
			if m.name == name {
				return member{name: name, data: strings.Repeat("x", len(m.data))}
			}
		}
		t.Fatalf("no member %s", name)
		return member{}
	}
	layer, config := members[0], members[1]
	tests := []struct {
		name    string
		members []member
		want    string
	}{
		{"nothing", []member{{name: "other"}}, "neither an OCI layout"},
		{"no image", []member{indexOf(t)}, "there is no image in it"},
		{"no JSON", []member{{name: "index.json", data: "{"}}, "index.json"},
		{"a damaged layer", []member{evil(layer.name), config, members[2], indexOf(t, desc)}, "digest mismatch"},
		{"a damaged config", []member{layer, evil(config.name), members[2], indexOf(t, desc)}, "digest mismatch"},
		{"a missing layer", []member{config, members[2], indexOf(t, desc)}, "file does not exist"},
		{"a digest that is a path", append(members, indexOf(t, changed(func(d *ocispec.Descriptor) { d.Digest = "sha256:../../../etc/passwd" }))), "is not one of sha256"},
		{"another algorithm", append(members, indexOf(t, changed(func(d *ocispec.Descriptor) { d.Digest = digest.SHA512.FromString(manifest) }))), "is not one of sha256"},
		{"a wrong size", append(members, indexOf(t, changed(func(d *ocispec.Descriptor) { d.Size++ }))), "were announced"},
		{"a negative size", append(members, indexOf(t, changed(func(d *ocispec.Descriptor) { d.Size = -1 }))), "it cannot have -1 bytes"},
		{"a huge manifest", append(members, indexOf(t, changed(func(d *ocispec.Descriptor) { d.Size = 1 << 40 }))), "it cannot have"},
		{"links in a circle", []member{{name: "index.json", link: "a"}, {name: "a", link: "index.json"}}, "neither an OCI layout"},
		{"docker: a layer that is not the config's", []member{
			{name: "manifest.json", data: `[{"Config":"c","Layers":["l"]}]`}, {name: "c", data: config.data}, {name: "l", data: "x"},
		}, "the config says"},
		{"docker: a file outside", []member{
			{name: "manifest.json", data: `[{"Config":"../../../../etc/hostname","Layers":[]}]`},
		}, "file does not exist"},
		{"docker: a link to the outside", []member{
			{name: "manifest.json", data: `[{"Config":"c","Layers":[]}]`}, {name: "c", link: "/etc/hostname"},
		}, "file does not exist"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := testStore(t)
			_, err := loadTar(t, s, tarOf(t, test.members...))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if left, _ := os.ReadDir(filepath.Join(s.dir.Path(), "tmp")); len(left) > 0 {
				t.Errorf("%s is left in tmp", left[0].Name())
			}
		})
	}
}

func TestUnpackKeepsNamesInside(t *testing.T) {
	s := testStore(t)
	data := tarOf(t, member{name: "../../escape", data: "x"}, member{name: "/abs", data: "y"}, member{name: "./a/../b", data: "z"})
	in, done, err := unpack(context.Background(), s.dir, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, name := range []string{"escape", "abs", "b"} {
		if r, err := in.open(name); err != nil {
			t.Error(err)
		} else {
			r.Close()
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir.Path(), "escape")); err == nil {
		t.Error("a member was written outside")
	}
}
