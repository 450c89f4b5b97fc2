//go:build linux

package threats

import (
	"bytes"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestT25DiffIDs: an honest image is known; another one claims the same layer
// for a blob with other content.
func TestT25LayersThatAreNotWhatTheConfigSays(t *testing.T) {
	p := newPlace(t)
	honest := tarOf(t, file("f", "honest"), file("g", "other"))
	evil := tarOf(t, file("f", "poison"), file("g", "other"))
	if len(honest) != len(evil) {
		t.Fatal("not alike")
	}
	p.hub.image("honest", nil, honest)
	p.accepted("FROM scratch\nCOPY --from=$HUB/honest /f /f\n").holds("f", "honest")
	lie := func(img *image) {
		img.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(honest)}}
	}
	p.hub.image("evil", lie, evil)
	p.refused("FROM scratch\nCOPY --from=$HUB/evil /f /f\n", "$HUB/evil", digest.FromBytes(honest).String(), digest.FromBytes(evil).String())
	p.refused("FROM scratch\nCOPY --from=$HUB/evil / /\n", "$HUB/evil")
	p.hub.image("gzipped", func(img *image) {
		img.layers, img.diffIDs = nil, nil
		img.add(p.hub, ocispec.MediaTypeImageLayerGzip, gzipped(t, evil), honest)
		img.manifest["layers"] = img.layers
		lie(img)
	}, evil)
	p.refused("FROM scratch\nCOPY --from=$HUB/gzipped /f /h\n", "$HUB/gzipped")
	if bytes.Equal(honest, evil) {
		t.Fatal("the same")
	}
	needsRun(t)
	p.accepted("FROM " + p.hub.base(honest) + "\nRUN test $(cat /f) = honest\n")
	base := p.hub.baseWith(func(img *image) {
		img.config["rootfs"].(map[string]any)["diff_ids"] = []digest.Digest{img.diffIDs[0], digest.FromBytes(honest)}
	}, evil)
	// The tree is known by its digest; where there is none, as on rung chroot, the blob is looked at.
	if _, err := p.try("FROM " + base + "\nRUN test $(cat /f) = honest\n"); err != nil {
		p.refusal(err, digest.FromBytes(honest).String())
	}
	fresh := newPlace(t)
	base = fresh.hub.baseWith(func(img *image) {
		img.config["rootfs"].(map[string]any)["diff_ids"] = []digest.Digest{img.diffIDs[0], digest.FromBytes(honest)}
	}, evil)
	fresh.refused("FROM "+base+"\nRUN true\n", "$HUB/base", digest.FromBytes(honest).String(), digest.FromBytes(evil).String())
}
