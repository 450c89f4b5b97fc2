package source

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/source/registry"
)

var hostile = []struct {
	name, doc, announced string
	word                 string // of the error; empty: accepted
}{
	{"plain", `{"schemaVersion":2,"config":CONFIG,"layers":[LAYER]}`, "", ""},
	{"docker", `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":CONFIG,"layers":[LAYER]}`,
		"application/vnd.docker.distribution.manifest.v2+json", ""},
	{"served as text", `{"schemaVersion":2,"config":CONFIG,"layers":[LAYER]}`, "text/plain", ""},
	{"no layers", `{"schemaVersion":2,"config":CONFIG,"layers":[]}`, "", ""},
	{"not JSON", `<html>`, "", "invalid character"},
	{"null", `null`, "", "schema version 0"},
	{"list", `[]`, "", "cannot unmarshal"},
	{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, "", "obsolete schema version 1"},
	{"schema 3", `{"schemaVersion":3,"config":CONFIG,"layers":[]}`, "", "schema version 3"},
	{"both", `{"schemaVersion":2,"config":CONFIG,"layers":[],"manifests":[]}`, "", "at once"},
	{"both, other case", `{"schemaVersion":2,"config":CONFIG,"Layers":[],"MANIFESTS":[]}`, "", "at once"},
	{"neither", `{"schemaVersion":2}`, "", "neither"},
	{"no config", `{"schemaVersion":2,"layers":[]}`, "", "neither"},
	{"null config", `{"schemaVersion":2,"config":null,"layers":[]}`, "", "neither"},
	{"empty config", `{"schemaVersion":2,"config":{},"layers":[]}`, "", "digest"},
	{"null layer", `{"schemaVersion":2,"config":CONFIG,"layers":[null]}`, "", "digest"},
	{"null entry", `{"schemaVersion":2,"manifests":[null]}`, "", "digest"},
	{"path as a digest", `{"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":"x","digest":"sha256:../../../etc/passwd","size":1}]}`, "", "digest"},
	{"short digest", `{"schemaVersion":2,"manifests":[{"digest":"sha256:abcd","size":1}]}`, "", "digest"},
	{"unknown algorithm", `{"schemaVersion":2,"manifests":[{"digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":1}]}`, "", "digest"},
	{"sha512", `{"schemaVersion":2,"manifests":[{"digest":"sha512:` + strings.Repeat("a", 128) + `","size":1}]}`, "", "not supported"},
	{"negative size", `{"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":"x","digest":"DIGEST","size":-1}]}`, "", "size -1"},
	{"huge size", `{"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":"x","digest":"DIGEST","size":1e30}]}`, "", "cannot unmarshal"},
	{"huge config", `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"DIGEST","size":9999999},"layers":[]}`, "", "more than"},
	{"another config", `{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"DIGEST","size":1},"layers":[]}`, "", "not an image"},
	{"another layer", `{"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":"application/x-evil","digest":"DIGEST","size":1}]}`, "", "unknown media type"},
	{"foreign layer", `{"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"DIGEST","size":1}]}`, "", "foreign layer"},
	{"layer with urls", `{"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"DIGEST","size":1,"urls":["http://127.0.0.2/x"]}]}`, "", "foreign layer"},
	{"index as image", `{"schemaVersion":2,"manifests":[]}`, ocispec.MediaTypeImageManifest, "not an image"},
	{"image as index", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":CONFIG,"layers":[]}`, "", "not an image"},
	{"two types", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, registry.DockerIndex, "is announced as"},
	{"too large", `{"schemaVersion":2,"config":CONFIG,"layers":[],"x":"` + strings.Repeat("x", registry.MaxManifest) + `"}`, "", "more than"},
}

func fill(doc string) []byte {
	d := digest.FromString("x").String()
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + d + `","size":1}`
	config := `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + d + `","size":1}`
	return []byte(strings.NewReplacer("CONFIG", config, "LAYER", layer, "DIGEST", d).Replace(doc))
}

func TestHostileManifests(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Limits{}.parseDocument(fill(tt.doc), tt.announced)
			if tt.word == "" && err != nil {
				t.Errorf("error %v", err)
			}
			if tt.word != "" && (err == nil || !strings.Contains(err.Error(), tt.word)) {
				t.Errorf("error %v, want one with %q", err, tt.word)
			}
		})
	}
}

func TestHostileConfigs(t *testing.T) {
	id := digest.FromString("x").String()
	for _, tt := range []struct{ doc, word string }{
		{`{"rootfs":{"type":"layers","diff_ids":["` + id + `"]}}`, ""},
		{`{"rootfs":{"type":"layers","diff_ids":["` + id + `"]},"history":[null,{},{}]}`, ""},
		{`{}`, "config names 0 layers, the manifest 1"},
		{`null`, "not a JSON object"},
		{`"x"`, "not a JSON object"},
		{`[]`, "not a JSON object"},
		{`{`, "unexpected end"},
		{`{"rootfs":null}`, "names 0 layers"},
		{`{"rootfs":{"type":"layers","diff_ids":[null]}}`, "digest"},
		{`{"rootfs":{"type":"layers","diff_ids":["sha256:/../x"]}}`, "digest"},
		{`{"rootfs":{"type":"disk","diff_ids":["` + id + `"]}}`, `of type "disk"`},
		{fmt.Sprintf(`{"rootfs":{"type":"layers","diff_ids":[%q,%q]}}`, id, id), "names 2 layers"},
	} {
		_, err := parseConfig([]byte(tt.doc), 1)
		if tt.word == "" && err != nil || tt.word != "" && (err == nil || !strings.Contains(err.Error(), tt.word)) {
			t.Errorf("%s: error %v, want one with %q", tt.doc, err, tt.word)
		}
	}
}

func TestChooseFromOddIndexes(t *testing.T) {
	entry := func(mediaType string, p *ocispec.Platform) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Platform: p, Digest: digest.FromString(fmt.Sprint(mediaType, p))}
	}
	arm := &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	x86 := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	nameless := entry(ocispec.MediaTypeImageManifest, nil)
	nested := entry(ocispec.MediaTypeImageIndex, nil)
	fits, other := entry(ocispec.MediaTypeImageManifest, x86), entry(ocispec.MediaTypeImageManifest, arm)
	for _, tt := range []struct {
		entries []ocispec.Descriptor
		want    digest.Digest
	}{
		{[]ocispec.Descriptor{nameless}, nameless.Digest},
		{[]ocispec.Descriptor{nameless, nested, other, fits}, fits.Digest},
		{[]ocispec.Descriptor{other, nested}, nested.Digest},
		{[]ocispec.Descriptor{other}, ""},
		{nil, ""},
	} {
		got, err := choose(tt.entries, amd64)
		if got.Digest != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%v: %v, %v", tt.entries, got, err)
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, h := range hostile {
		if len(h.doc) < 1<<16 {
			f.Add(fill(h.doc), h.announced)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, announced string) {
		doc, err := Limits{}.parseDocument(raw, announced)
		if err != nil {
			return
		}
		for _, p := range append(doc.parts, doc.config) {
			if !doc.index && p.Digest.Validate() != nil {
				t.Errorf("digest %q is accepted", p.Digest)
			}
		}
		_, _ = choose(doc.parts, amd64)
	})
}
