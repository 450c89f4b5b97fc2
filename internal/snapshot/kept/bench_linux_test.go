package kept

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// BenchmarkDiff is what a step that changes one file of 60,000 costs beside its
// command, from the second one on.
func BenchmarkDiff(b *testing.B) {
	h := newHouse(b)
	var headers []tar.Header
	for d := range 3000 {
		dir := fmt.Sprintf("usr/share/d%d/", d)
		headers = append(headers, folder(dir))
		for f := range 19 {
			headers = append(headers, file(fmt.Sprintf("%sfile%d", dir, f), "content"))
		}
	}
	layers := []snapshot.Layer{h.layer(headers...)}
	s := h.begin(layers...)
	for b.Loop() {
		h.write(s.Root()+"/usr/share/d7/new", "x")
		w := layer.NewWriter(context.Background(), io.Discard, layer.WriterOptions{})
		h.must(s.Diff(context.Background(), w))
		w.Abort()
	}
	h.must(s.Close())
}
