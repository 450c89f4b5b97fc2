//go:build linux

package threats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/builder"
)

const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

// documents tries texts as the manifest of an image. What they say of the image
// called good is true.
func (p *place) documents(cases map[string]string, words ...string) {
	p.t.Helper()
	config := p.hub.blob(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))
	good := strings.NewReplacer("$CONFIG", string(jsonOf(p.t, config)))
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		p.hub.put("evil", ocispec.MediaTypeImageManifest, []byte(good.Replace(cases[name])))
		p.part(name, func() { p.refused("FROM $HUB/evil\n", append(words, "$HUB/evil")...) })
	}
}

func TestA01DocumentsWithHoles(t *testing.T) {
	p := newPlace(t)
	p.documents(map[string]string{
		"nothing":            ``,
		"null":               `null`,
		"a list":             `[]`,
		"a number":           `-1`,
		"empty":              `{}`,
		"layers null":        `{"schemaVersion":2,"config":$CONFIG,"layers":null}`,
		"a layer null":       `{"schemaVersion":2,"config":$CONFIG,"layers":[null]}`,
		"config null":        `{"schemaVersion":2,"config":null,"layers":[]}`,
		"config a list":      `{"schemaVersion":2,"config":[],"layers":[]}`,
		"manifests null":     `{"schemaVersion":2,"manifests":[null]}`,
		"no manifests":       `{"schemaVersion":2,"manifests":[]}`,
		"schema version":     `{"schemaVersion":-2,"config":$CONFIG,"layers":[]}`,
		"a layer of nothing": `{"schemaVersion":2,"config":$CONFIG,"layers":[{}]}`,
		"not JSON":           `{"schemaVersion":2,`,
		"deep":               strings.Repeat("[", 20_000),
	})
	for name, config := range map[string]string{
		"null": `null`, "a list": `[]`, "empty": `{}`, "rootfs null": `{"rootfs":null}`, "diff_ids null": `{"rootfs":{"type":"layers","diff_ids":null}}`,
		"a null among them": `{"rootfs":{"type":"layers","diff_ids":[null]}}`, "fewer": `{"rootfs":{"type":"layers","diff_ids":[]}}`,
		"config a number": `{"config":7,"rootfs":{"type":"layers","diff_ids":["$ID"]}}`, "os a number": `{"os":7,"rootfs":{"type":"layers","diff_ids":["$ID"]}}`,
		"history a number": `{"os":"linux","history":-1,"rootfs":{"type":"layers","diff_ids":["$ID"]}}`,
	} {
		data := tarOf(t, file("f", ""))
		config = strings.ReplaceAll(config, "$ID", digest.FromBytes(data).String())
		p.hub.image("evil", func(img *image) { img.manifest["config"] = p.hub.blob(ocispec.MediaTypeImageConfig, []byte(config)) }, data)
		p.part("config "+name, func() { p.refused("FROM $HUB/evil\nCOPY --from=$HUB/evil /f /g\n", "$HUB/evil") })
	}
	// More history than layers, and other way round, is only odd.
	for _, history := range [][]any{{map[string]any{}, map[string]any{"empty_layer": true}, map[string]any{}}, {}, {nil, nil}} {
		p.hub.image("odd", func(img *image) { img.config["history"] = history }, tarOf(t, file("f", "f")))
		got := p.accepted("FROM $HUB/odd\nCOPY --from=$HUB/odd /f /g\n")
		got.holds("g", "f")
		var c ocispec.Image
		must(t, json.Unmarshal(got.img.Config, &c))
		layers := 0
		for _, h := range c.History {
			if !h.EmptyLayer {
				layers++
			}
		}
		if layers != len(c.RootFS.DiffIDs) {
			t.Errorf("the history speaks of %d layers, there are %d", layers, len(c.RootFS.DiffIDs))
		}
	}
}

func TestA25MutatedManifests(t *testing.T) {
	p := newPlace(t)
	p.hub.image("good", nil, tarOf(t, file("f", "")))
	good := p.hub.manifests["good:latest"].data
	for at := 0; at < len(good); at += 5 {
		for _, change := range []func([]byte) []byte{
			func(b []byte) []byte { b[at] ^= 0x20; return b },
			func(b []byte) []byte { return b[:at] },
			func(b []byte) []byte { return slices.Insert(b, at, 0) },
		} {
			data := change(bytes.Clone(good))
			p.hub.put("evil", ocispec.MediaTypeImageManifest, data)
			_, err := p.try("FROM $HUB/evil\nLABEL a=b\n")
			if err != nil {
				p.oneLine(err.Error())
			}
		}
	}
}

func TestA13ResultsAreNotFoundByLikeness(t *testing.T) {
	p := newPlace(t)
	// An image whose config and history are those of what is built next.
	mine := p.accepted("FROM scratch\nLABEL a=b\n")
	var config map[string]any
	must(t, json.Unmarshal(mine.img.Config, &config))
	data := tarOf(t, file("poison", ""))
	p.hub.image("evil", func(img *image) {
		history := config["history"]
		maps.Copy(img.config, config)
		img.config["rootfs"], img.config["history"] = map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(data)}}, history
	}, data)
	p.accepted("FROM $HUB/evil\n", func(o *builder.Options) { o.Tags = []string{"scratch", "evil"} })
	got := p.accepted("FROM scratch\nLABEL a=b\n")
	got.lacks("poison")
	if len(got.img.Layers) != 0 {
		t.Errorf("it has %d layers", len(got.img.Layers))
	}
	// Each of these alone makes another image.
	seen := map[digest.Digest]string{}
	p.write("f", "")
	for _, line := range []string{"", "HEALTHCHECK CMD a", "HEALTHCHECK CMD b", "HEALTHCHECK NONE", "ONBUILD LABEL a=b", "SHELL [\"x\"]", "STOPSIGNAL 9", "VOLUME /v",
		"USER 5", "WORKDIR /", "ENV a=b", "EXPOSE 80", "ENTRYPOINT [\"x\"]", "CMD [\"x\"]"} {
		d := p.accepted("FROM scratch\nCOPY f /f\n" + line + "\n").img.Descriptor.Digest
		if seen[d] != "" && line != "WORKDIR /" {
			t.Errorf("%q makes the same as %q", line, seen[d])
		}
		seen[d] = line + " "
	}
}

func TestB14Digests(t *testing.T) {
	p := newPlace(t)
	hex := strings.Repeat("a", 64)
	for name, bad := range map[string]string{
		"a path": "sha256:../../../" + p.host.dir + "/secret", "a path of that length": "sha256:" + ("../../" + strings.Repeat("a", 64))[:64],
		"upper case": "sha256:" + strings.ToUpper(hex), "short": "sha256:aa", "other algorithm": "md5:" + hex[:32], "query": "sha256:" + hex + "?x=y", "empty": "",
		"sha512": "sha512:" + hex + hex, "no algorithm": hex, "longer": "sha256:" + hex + "a", "newline": "sha256:" + hex[:63] + "\n", "unknown": "sha256+b64:" + hex,
	} {
		p.part(name, func() {
			p.hub.image("evil", func(img *image) {
				img.manifest["layers"] = []any{map[string]any{"mediaType": ocispec.MediaTypeImageLayer, "digest": bad, "size": 1024}}
			}, tarOf(t, file("f", "")))
			p.refused("FROM $HUB/evil\n", "$HUB/evil", "digest")
			p.hub.image("evil", func(img *image) {
				img.manifest["config"] = map[string]any{"mediaType": ocispec.MediaTypeImageConfig, "digest": bad, "size": 10}
			})
			p.refused("FROM $HUB/evil\n", "$HUB/evil", "digest")
			p.hub.image("evil", func(img *image) { img.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{bad}} }, tarOf(t, file("f", "")))
			p.refused("FROM $HUB/evil\n", "$HUB/evil", "digest")
			index := jsonOf(t, map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{"mediaType": ocispec.MediaTypeImageManifest, "digest": bad, "size": 10}}})
			p.hub.put("evil", ocispec.MediaTypeImageIndex, index)
			p.refused("FROM $HUB/evil\n", "$HUB/evil", "digest")
		})
	}
	for _, r := range p.hub.requests("") {
		if strings.Contains(r.URL.Path, "..") || strings.Contains(r.URL.Path, "secret") {
			t.Errorf("it asked for %s", r.URL.Path)
		}
	}
	// What nobody follows may say what it likes.
	p.hub.image("odd", func(img *image) {
		img.manifest["subject"] = map[string]any{"mediaType": "x", "digest": "sha256:../..", "size": -1}
		img.manifest["annotations"] = map[string]string{"digest": "sha256:../.."}
	}, tarOf(t, file("f", "f")))
	p.accepted("FROM scratch\nCOPY --from=$HUB/odd /f /f\n").holds("f", "f")
}

func TestC02Volumes(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	volumes := map[string]any{"/../.." + p.host.dir: struct{}{}, "relative": struct{}{}, "/v": struct{}{}, "": struct{}{}}
	base := p.hub.baseWith(withConfig(map[string]any{"Volumes": volumes}))
	p.accepted("FROM " + base + "\nVOLUME /../..$HOST /v2\nRUN test ! -e $HOST && touch /ran\n").entry("ran")
}

func TestC03SizesThatLie(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "f"))
	for _, size := range []int64{math.MaxInt64, 1 << 62, -1, 0} {
		p.hub.image("evil", func(img *image) {
			c := p.hub.blob(ocispec.MediaTypeImageConfig, jsonOf(t, img.config))
			c.Size = size
			img.manifest["config"] = c
		}, data)
		p.refused("FROM $HUB/evil\n", "$HUB/evil")
		p.hub.image("evil", func(img *image) { img.layers[0].Size = size }, data)
		p.refused("FROM scratch\nCOPY --from=$HUB/evil / /\n", "$HUB/evil")
		good := p.hub.manifests["evil:latest"]
		m := map[string]any{"mediaType": good.mediaType, "digest": digest.FromBytes(good.data), "size": size}
		p.hub.put("index", ocispec.MediaTypeImageIndex, jsonOf(t, map[string]any{"schemaVersion": 2, "manifests": []any{m}}))
		p.refused("FROM $HUB/index\n", "$HUB/index")
	}
	big := append([]byte(`{"schemaVersion":2,"x":"`), bytes.Repeat([]byte("x"), 5<<20)...)
	p.hub.put("big", ocispec.MediaTypeImageManifest, append(big, `"}`...))
	p.refused("FROM $HUB/big\n", "$HUB/big", "more than 4194304 bytes")
	p.hub.image("big", func(img *image) { img.config["x"] = strings.Repeat("x", 9<<20) }, data)
	p.refused("FROM $HUB/big\n", "$HUB/big", "more than 8388608")
	p.change = func(o *builder.Options) { o.Bounds.Image = builder.ImageLimits{MaxManifest: 300, MaxConfig: 50} }
	p.hub.image("small", nil, data)
	p.refused("FROM $HUB/small\n", "$HUB/small", "more than 300 bytes")
	p.change = func(o *builder.Options) { o.Bounds.Image = builder.ImageLimits{MaxConfig: 50} }
	p.refused("FROM $HUB/small\n", "$HUB/small", "more than 50")
	// An OCI layout is as little believed as a registry.
	p.change = nil
	layout := filepath.Join(p.dir, "out")
	must(t, os.MkdirAll(layout, 0o755))
	must(t, os.WriteFile(filepath.Join(layout, "oci-layout"), []byte("{}"), 0o644))
	f, err := os.Create(filepath.Join(layout, "index.json"))
	must(t, err)
	must(t, f.Truncate(5<<30))
	must(t, f.Close())
	_, err = p.try("FROM l\n", func(o *builder.Options) { o.Contexts = map[string]string{"l": "oci-layout://" + layout} })
	p.refusal(err, "index.json")
}

func TestC04LayersThatAreElsewhere(t *testing.T) {
	p := newPlace(t)
	sink := newSink(t)
	data := tarOf(t, file("f", ""))
	for _, mediaType := range []string{ocispec.MediaTypeImageLayer, "application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"} {
		p.hub.image("foreign", func(img *image) {
			img.layers[0].MediaType = mediaType
			img.layers[0].URLs = []string{sink.url + "/layer", "file://" + p.host.dir + "/secret"}
			delete(p.hub.blobs, img.layers[0].Digest.String())
		}, data)
		p.refused("FROM scratch\nCOPY --from=$HUB/foreign / /\n", "$HUB/foreign", "foreign layer")
	}
	sink.silent()
}

func TestC05DocumentsWithTwoMeanings(t *testing.T) {
	p := newPlace(t)
	p.hub.image("good", nil, tarOf(t, file("f", "")))
	good := p.hub.manifests["good:latest"]
	self := fmt.Sprintf(`[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"amd64"}}]`, good.mediaType, digest.FromBytes(good.data), len(good.data))
	p.documents(map[string]string{
		"layers and manifests":     `{"schemaVersion":2,"config":$CONFIG,"layers":[],"manifests":` + self + `}`,
		"config and manifests":     `{"schemaVersion":2,"config":$CONFIG,"manifests":` + self + `}`,
		"an image that says index": `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","config":$CONFIG,"layers":[]}`,
		"an index that says image": `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","manifests":` + self + `}`,
		"a type nobody knows":      `{"schemaVersion":2,"mediaType":"text/html","config":$CONFIG,"layers":[]}`,
		"another flavour":          `{"schemaVersion":2,"mediaType":"` + dockerManifest + `","config":$CONFIG,"layers":[]}`,
	})
	// The registry calls it something else than the document itself.
	p.hub.put("evil", ocispec.MediaTypeImageIndex, good.data)
	p.refused("FROM $HUB/evil\n", "$HUB/evil", "announced as")
	// And so does an index.
	entry := map[string]any{"mediaType": ocispec.MediaTypeImageIndex, "digest": digest.FromBytes(good.data), "size": len(good.data)}
	p.hub.put("evil", ocispec.MediaTypeImageIndex, jsonOf(t, map[string]any{"schemaVersion": 2, "manifests": []any{entry}}))
	p.hub.manifests["evil@"+digest.FromBytes(good.data).String()] = good
	p.refused("FROM $HUB/evil\n", "$HUB/evil", "announced as")
}

func TestC06LabelsAreData(t *testing.T) {
	p := newPlace(t)
	labels := map[string]string{"io.containerd.image.name": "docker.io/library/evil:latest", "org.opencontainers.image.ref.name": "latest", "containerd.io/x": "binary:///bin/sh?-c=touch " + p.host.dir + "/pwned",
		"escape": "\x1b]0;title\x07\r\n%s%n", "big": strings.Repeat("x", 1<<20), "": "empty", "\x00": "nul", "../..": "path"}
	p.hub.image("odd", func(img *image) {
		img.config["config"] = map[string]any{"Labels": labels}
		img.manifest["annotations"] = labels
		img.layers[0].Annotations = labels
	}, tarOf(t, file("f", "f")))
	got := p.accepted("FROM $HUB/odd\nCOPY --from=$HUB/odd /f /g\n", func(o *builder.Options) { o.Tags = []string{"mine"} })
	got.holds("g", "f")
	tags, err := p.openStore().Tags()
	must(t, err)
	if len(tags) != 1 || tags[0].Name != "docker.io/library/mine:latest" {
		t.Errorf("the store has %+v", tags)
	}
	p.write("Dockerfile", p.fake("FROM $HUB/odd\nCOPY --from=$HUB/odd /missing /\n"))
	o := p.call("build", "--progress", "plain", ".")
	p.fails(o, 1, "missing")
	if strings.Contains(o.stderr, "\x1b]") {
		t.Errorf("a label reaches the terminal: %q", o.stderr)
	}
}

func TestL08LiesOfTablesOfContents(t *testing.T) {
	p := newPlace(t)
	toc := `{"version":1,"entries":[{"name":"../../x","type":"reg","size":5,"offset":99999999},{"name":"f","type":"reg","size":6,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`
	data := tarOf(t, file("f", "true"), file("stargz.index.json", toc))
	p.hub.image("odd", func(img *image) {
		img.layers[0].Annotations = map[string]string{"containerd.io/snapshot/stargz/toc.digest": digest.FromString("a lie").String(), "io.containers.estargz.uncompressed-size": "-5"}
	}, data)
	p.accepted("FROM scratch\nCOPY --from=$HUB/odd / /\n").holds("f", "true")
}

func TestL09ManyLayersFewDescriptors(t *testing.T) {
	p := newPlace(t)
	var layers [][]byte
	for i := range 300 {
		layers = append(layers, tarOf(t, file(fmt.Sprintf("f%d", i), fmt.Sprint(i))))
	}
	p.hub.image("tall", nil, layers...)
	p.write("Dockerfile", p.fake("FROM scratch\nCOPY --from=$HUB/tall /f7 /f299 /\n"))
	shell := `ulimit -n 128; exec "$0" build -q .`
	cmd := p.command()
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", shell, cmd.Path}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with 128 descriptors: %v\n%s", err, out)
	}
}

func TestT25CountsThatDiffer(t *testing.T) {
	p := newPlace(t)
	a, b := tarOf(t, file("a", "a")), tarOf(t, file("b", "b"))
	for name, ids := range map[string][]digest.Digest{"fewer": {digest.FromBytes(a)}, "more": {digest.FromBytes(a), digest.FromBytes(b), digest.FromBytes(b)}, "none": {}} {
		p.hub.image("evil", func(img *image) { img.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": ids} }, a, b)
		p.part(name, func() { p.refused("FROM $HUB/evil\n", "$HUB/evil", "layers") })
	}
	p.hub.image("evil", func(img *image) {
		img.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(b), digest.FromBytes(a)}}
	}, a, b)
	p.refused("FROM scratch\nCOPY --from=$HUB/evil / /\n", "$HUB/evil", "has the digest")
	empty := make([]byte, 1024)
	p.stacked([][]byte{a, empty, a, b, empty}, func(r *result) {
		r.holds("a", "a")
		r.holds("b", "b")
	}, "test -f /a && test -f /b")
}

func TestT27Indexes(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "f"))
	p.hub.image("image", nil, data)
	image := p.hub.manifests["image:latest"]
	entry := func(doc document, platform any) map[string]any {
		e := map[string]any{"mediaType": doc.mediaType, "digest": digest.FromBytes(doc.data), "size": len(doc.data)}
		if platform != nil {
			e["platform"] = platform
		}
		return e
	}
	index := func(name string, entries ...map[string]any) document {
		d := document{ocispec.MediaTypeImageIndex, jsonOf(t, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": entries})}
		p.hub.put(name, d.mediaType, d.data)
		return d
	}
	here := map[string]any{"os": "linux", "architecture": goarch}
	nested := image
	for range 1000 {
		nested = index("deep", entry(nested, nil))
		p.hub.manifests["deep@"+digest.FromBytes(image.data).String()] = image
	}
	p.refused("FROM $HUB/deep\n", "$HUB/deep", "nested deeper")
	other := map[string]any{"os": "plan9", "architecture": "vax"}
	var many []map[string]any
	for range 15_000 {
		many = append(many, entry(image, other))
	}
	p.hub.manifests["many@"+digest.FromBytes(image.data).String()] = image
	index("many", append(many, entry(image, here))...)
	p.accepted("FROM scratch\nCOPY --from=$HUB/many /f /f\n").holds("f", "f")
	index("many", many...)
	p.refused("FROM $HUB/many\n", "$HUB/many", "not available for platform")
	p.hub.image("second", nil, tarOf(t, file("f", "second")))
	second := p.hub.manifests["second:latest"]
	for _, e := range []document{image, second} {
		p.hub.manifests["twice@"+digest.FromBytes(e.data).String()] = e
		p.hub.manifests["odd@"+digest.FromBytes(e.data).String()] = e
	}
	index("twice", entry(image, here), entry(second, here))
	for range 3 {
		p.accepted("FROM scratch\nCOPY --from=$HUB/twice /f /f\n").holds("f", "f") // the first, always
	}
	unknown := map[string]any{"os": "unknown", "architecture": "unknown"}
	garbage := map[string]any{"os": "\x1b[31m", "architecture": strings.Repeat("x", 1000), "variant": "../..", "os.features": []string{"\n"}}
	index("odd", entry(second, unknown), entry(second, garbage), entry(image, here))
	p.accepted("FROM scratch\nCOPY --from=$HUB/odd /f /f\n").holds("f", "f")
	index("odd", entry(second, unknown), entry(second, garbage))
	p.refused("FROM $HUB/odd\n", "$HUB/odd")
}

func TestT28NumbersOfLayers(t *testing.T) {
	p := newPlace(t)
	p.hub.image("none", nil)
	p.write("f", "f")
	p.accepted("FROM $HUB/none\nCOPY f /f\n").holds("f", "f")
	var layers [][]byte
	for i := range 500 {
		layers = append(layers, tarOf(t, file(fmt.Sprintf("d/%d", i), ""), file("top", fmt.Sprint(i))))
	}
	p.hub.image("tall", nil, layers...)
	p.accepted("FROM $HUB/tall\nCOPY --from=$HUB/tall /top /copied\n").holds("copied", "499")
	p.change = func(o *builder.Options) { o.Bounds.Image.MaxLayers = 499 }
	p.refused("FROM $HUB/tall\n", "$HUB/tall", "500 layers, more than 499")
	p.change = nil
	var ids []digest.Digest
	var descs []ocispec.Descriptor
	for range 5000 {
		ids, descs = append(ids, digest.FromBytes(layers[0])), append(descs, p.hub.blob(ocispec.MediaTypeImageLayer, layers[0]))
	}
	p.hub.lie("towering", &image{mediaType: ocispec.MediaTypeImageManifest, layers: descs, diffIDs: ids}, nil)
	p.refused("FROM $HUB/towering\n", "$HUB/towering", "5000 layers, more than 4096")
	needsRun(t)
	p.accepted("FROM " + p.hub.base(layers[:130]...) + "\nRUN test $(cat /top) = 129 && test $(ls /d | wc -l) = 130\n")
	p.accepted("FROM " + p.hub.base(layers...) + "\nRUN test $(cat /top) = 499 && test $(ls /d | wc -l) = 500\n")
	tall := layers
	for i := range 500 {
		tall = append(tall, tarOf(t, file(fmt.Sprintf("e/%d", i), "")))
	}
	p.accepted("FROM " + p.hub.base(tall...) + "\nRUN test $(cat /top) = 499 && test $(ls /e | wc -l) = 500\n") // more than overlays have
}

func TestT29Configs(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	long := make([]string, 100_000)
	for i := range long {
		long[i] = fmt.Sprintf("E%d=%d", i, i)
	}
	odd := map[string]map[string]any{
		"env":     {"Env": long},
		"labels":  {"Labels": map[string]string{strings.Repeat("l", 100_000): strings.Repeat("v", 100_000)}},
		"cmd":     {"Cmd": []string{"a\x00b", "\xff"}, "Entrypoint": []string{}},
		"volumes": {"Volumes": map[string]any{"": nil, "../..": nil, "\x00": nil}, "ExposedPorts": map[string]any{"x": nil, "99999/tcp": nil}},
		"user":    {"User": ":::"},
		"shell":   {"Shell": []string{}},
		"signal":  {"StopSignal": "\x1b[31m"},
		"health":  {"Healthcheck": map[string]any{"Test": []string{"CMD"}, "Interval": -1, "Retries": -1}},
		"windows": {"ArgsEscaped": true},
	}
	for name, values := range odd {
		p.hub.image("odd", withConfig(values), tarOf(t, file("o", "")))
		p.part(name, func() { p.accepted("FROM $HUB/odd\nCOPY f /f\nLABEL x=y\n").holds("f", "f") })
	}
	for dir, want := range map[string]string{"relative": "relative/relative", "../../climbs": "climbs", "/a/../b": "b"} {
		p.hub.image("odd", withConfig(map[string]any{"WorkingDir": dir}), tarOf(t, file("o", "")))
		p.part(dir, func() { p.accepted("FROM $HUB/odd\nCOPY f ./\n").holds(want+"/f", "f") })
	}
	for _, trigger := range []string{"FROM scratch", "NONSENSE", "COPY", "RUN --mount=type=bind,from=../../etc,target=/x true"} {
		p.hub.image("evil", withConfig(map[string]any{"OnBuild": []string{trigger}}), tarOf(t, file("o", "")))
		p.part(trigger, func() { p.refused("FROM $HUB/evil\n") })
	}
}

func TestA17HostileArchivesOfImages(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "f"))
	config := jsonOf(t, map[string]any{"os": "linux", "architecture": goarch, "rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(data)}}})
	list := func(config, layer string, tags ...string) entry {
		return file("manifest.json", string(jsonOf(t, []any{map[string]any{"Config": config, "Layers": []string{layer}, "RepoTags": tags}})))
	}
	secretPath := strings.Repeat("../", 20) + p.host.dir + "/secret"
	for name, archive := range map[string][]byte{
		"layer climbs":        tarOf(t, list("c.json", secretPath), file("c.json", string(config))),
		"config of the host":  tarOf(t, list("/etc/passwd", "l.tar"), file("l.tar", string(data))),
		"layer is a link":     tarOf(t, list("c.json", "l.tar"), file("c.json", string(config)), symlink("l.tar", p.host.dir+"/secret")),
		"layer is a hardlink": tarOf(t, list("c.json", "l.tar"), file("c.json", string(config)), hardlink("l.tar", p.host.dir+"/secret")),
		"layer is a pipe":     tarOf(t, list("c.json", "l.tar"), file("c.json", string(config)), fifo("l.tar")),
		"links in a loop":     tarOf(t, list("c.json", "a"), file("c.json", string(config)), symlink("a", "b"), symlink("b", "a")),
		"entry climbs":        tarOf(t, file("../../../../../../.."+p.host.dir+"/pwned", "x"), list("c.json", "missing"), file("c.json", string(config))),
		"other layer":         tarOf(t, list("c.json", "l.tar"), file("c.json", string(config)), file("l.tar", string(tarOf(t, file("f", "g"))))),
		"blob climbs":         tarOf(t, file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../x","size":1}]}`)),
		"truncated":           tarOf(t, list("c.json", "l.tar"), file("c.json", string(config)), file("l.tar", string(data)))[:2000],
		"null":                tarOf(t, file("manifest.json", "[null]")),
	} {
		p.archive("evil.tar", archive)
		p.part(name, func() { p.fails(p.call("load", "-i", "evil.tar"), 1, "evil.tar") })
	}
	for _, tag := range []string{"../../x:y", "\x1b[31m", "a:b:c", ""} {
		p.archive("evil.tar", tarOf(t, list("c.json", "l.tar", tag), file("c.json", string(config)), file("l.tar", string(data))))
		p.part("named "+tag, func() { p.fails(p.call("load", "-i", "evil.tar"), 1, "evil.tar") })
	}
	p.archive("odd.tar", tarOf(t, list("c.json", "./l.tar", "fine:tag"), file("c.json", string(config)), symlink("l.tar", "/deep/layer.tar"), file("deep/layer.tar", string(data))))
	if o := p.call("load", "-i", "odd.tar"); o.code != 0 || strings.Contains(o.stdout, "\x1b") {
		t.Errorf("exit code %d: %q %q", o.code, o.stdout, o.stderr)
	}
}

func TestT24ManifestsThatAreNotWhatWasAskedFor(t *testing.T) {
	p := newPlace(t)
	p.hub.image("good", nil, tarOf(t, file("f", "f")))
	p.hub.image("evil", nil, tarOf(t, file("f", "evil")))
	good, evil := p.hub.manifests["good:latest"].data, p.hub.manifests["evil:latest"]
	p.hub.manifests["evil@"+digest.FromBytes(good).String()] = evil
	p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/sha256:") {
			return false
		}
		w.Header().Set("Content-Type", evil.mediaType)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(good).String()) // as it was asked for
		answer(w, r, evil.data)
		return true
	}
	p.refused("FROM $HUB/evil@"+digest.FromBytes(good).String()+"\n", "$HUB", "has the digest")
}
