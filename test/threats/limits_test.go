//go:build linux

package threats

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestT22EachLimit: each limit is hit, by default where that is cheap to do, and
// what was refused is taken when the flag says so.
func TestT22EachLimit(t *testing.T) {
	p := newPlace(t)
	use := "FROM scratch\nCOPY --from=$HUB/big / /\n"
	layer := func(entries ...entry) string {
		p.hub.image("big", nil, tarOf(t, entries...))
		return use
	}
	var many []entry
	for i := range 50 {
		many = append(many, file(fmt.Sprint(i), ""))
	}
	url := p.web(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 5000)) })
	for _, limit := range []struct {
		name, low, high string // no low: the default
		dockerfile      func() string
		says            string
	}{
		{"layer-bytes", "1m", "5m", func() string { return layer(file("f", strings.Repeat("x", 2<<20))) }, "larger than 1048576 bytes"},
		{"layer-entries", "49", "50", func() string { return layer(many...) }, "more than 49 entries"},
		{"header-bytes", "2000", "9000", func() string { return layer(file("f", "").pax("comment", strings.Repeat("x", 5000))) }, "more than 2000"},
		{"name-bytes", "100", "101", func() string { return layer(file(strings.Repeat("n", 101), "")) }, "name too long: more than 100 bytes"},
		{"name-depth", "3", "4", func() string { return layer(file("a/b/c/d", "")) }, "name too deep: 4 parts, more than 3"},
		{"layers", "", "5000", func() string { return p.tower(4097) }, "4097 layers, more than 4096"},
		{"manifest-bytes", "", "8m", func() string {
			p.hub.image("big", func(img *image) { img.manifest["annotations"] = map[string]string{"x": strings.Repeat("x", 5<<20)} }, tarOf(t, file("f", "")))
			return use
		}, "more than 4194304 bytes"},
		{"config-bytes", "", "16m", func() string {
			p.hub.image("big", func(img *image) { img.config["x"] = strings.Repeat("x", 9<<20) }, tarOf(t, file("f", "")))
			return use
		}, "more than 8388608"},
		{"download-bytes", "4999", "5000", func() string { return "FROM scratch\nADD " + url + "/f /f\n" }, "larger than 4999 bytes"},
	} {
		p.part(limit.name, func() {
			p.write("Dockerfile", p.fake(limit.dockerfile()))
			args := []string{"build", "-q", "."}
			if limit.low != "" {
				args = append(args, "--limit", limit.name+"="+limit.low)
			}
			p.fails(p.call(args...), 1, limit.says)
			if o := p.call("build", "-q", "--limit", limit.name+"="+limit.high, "."); o.code != 0 {
				p.t.Errorf("raised to %s: %s", limit.high, o.stderr)
			}
		})
	}
	p.write("Dockerfile", "FROM scratch\n")
	for _, bad := range []string{"layer-bytes", "layer-bytes=", "layer-bytes=x", "layer-bytes=-1", "layer-bytes=0", "nonsense=1", "=1", "layers=9999999999999999999"} {
		p.part(bad, func() { p.fails(p.call("build", "--limit", bad, "."), 2, "--limit") })
	}
}

// tower serves an image of many layers, all the same.
func (p *place) tower(layers int) string {
	img := &image{mediaType: ocispec.MediaTypeImageManifest}
	one := tarOf(p.t, file("f", ""))
	for range layers {
		img.add(p.hub, ocispec.MediaTypeImageLayer, one, one)
	}
	p.hub.lie("big", img, nil)
	return "FROM $HUB/big\nLABEL a=b\n"
}
