package worker

import (
	"archive/tar"
	"fmt"
	"testing"

	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// TestB14MoreLayersThanOverlaysHave runs steps over more layers than the kernel stacks.
func TestB14MoreLayersThanOverlaysHave(t *testing.T) {
	h := newHouse(t)
	var layers []snapshot.Layer
	for i := range snapshot.MaxLayers + 1 {
		layers = append(layers, h.layer(tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("f", i), Linkname: "x"}))
	}
	e, _ := h.must(h.shell(fmt.Sprintf("test -e /f0 && test -e /f%d && echo a >/a && rm /f1", len(layers)-1), layers...))
	first := h.commit(e)
	e, said := h.must(h.shell("cat /a; test ! -e /f1 && echo b >/b", append(layers, first)...))
	if said != "a\n" {
		t.Errorf("the second step says %q", said)
	}
	for i, want := range []string{"a", "b"} {
		l := first
		if i == 1 {
			l = h.commit(e)
		}
		if got := h.entries(l); len(got) != 2-i {
			t.Errorf("layer of %s holds %q", want, got)
		}
	}
}
