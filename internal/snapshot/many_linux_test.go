package snapshot

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocibuild/ocibuild/layer"
)

// More layers than one overlay shows are one tree all the same, in which each layer
// hides what it hides, and in which a step can work.
func TestB14MoreLayersThanAnOverlayHas(t *testing.T) {
	ctx := context.Background()
	m := newManager(t, newStore(t))
	const n = 501
	layers := []Layer{tarLayer(t, tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755}, file("d/first", "1"), file("d/gone", "1"), file("early", "1"))}
	for i := 1; i < n; i++ {
		headers := []tar.Header{file(fmt.Sprint("d/", i), "x"), file("last", fmt.Sprint(i))}
		switch i {
		case 20: // in the lowest ones
			headers = append(headers, file(".wh.early", ""))
		case n - 1:
			headers = append(headers, file("d/.wh.gone", ""), file("d/.wh.2", ""))
		}
		layers = append(layers, tarLayer(t, headers...))
	}
	trees, err := m.Ensure(ctx, layers)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Prepare(ctx, trees, Networked)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, there := range map[string]bool{
		"d/first": true, "d/1": true, "d/500": true, "proc": true, "d/gone": false, "early": false, "d/2": false,
	} {
		if _, err := os.Lstat(filepath.Join(s.Root(), name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(s.Root(), "last")); string(got) != "500" {
		t.Errorf("last: %q, %v", got, err)
	}
	if entries, err := os.ReadDir(filepath.Join(s.Root(), "d")); len(entries) != n-1 {
		t.Errorf("%d names in d, %v", len(entries), err)
	}
	if err := os.RemoveAll(filepath.Join(s.Root(), "d")); err != nil {
		t.Fatal(err)
	}
	var names []string
	w := layer.NewWriter(ctx, discard{}, layer.WriterOptions{})
	if err := s.Diff(ctx, w); err != nil {
		t.Fatal(err)
	}
	diffID, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if _, toc, err := w.Wait(); err != nil {
		t.Fatal(err)
	} else {
		for e := range toc.All() {
			names = append(names, e.Name+" "+string(e.Type))
		}
	}
	if len(names) != 1 || names[0] != "d w" {
		t.Errorf("the changes are %q", names)
	}
	path, err := s.Adopt(diffID)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("the tree's folder has %v, %v", entries, err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
