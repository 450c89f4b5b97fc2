package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/rogpeppe/go-internal/testscript"
)

// listLayers writes the entries of an image's layers to a file, one a line: the
// number of the layer, mode, owner, type and name: list-layers LAYOUT FILE
func listLayers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: list-layers LAYOUT FILE")
	}
	index, err := layout.ImageIndexFromPath(ts.MkAbs(args[0]))
	ts.Check(err)
	m, err := index.IndexManifest()
	ts.Check(err)
	img, err := index.Image(m.Manifests[0].Digest)
	ts.Check(err)
	layers, err := img.Layers()
	ts.Check(err)
	var out strings.Builder
	for i, l := range layers {
		r, err := l.Uncompressed()
		ts.Check(err)
		ts.Check(list(&out, i+1, r))
		ts.Check(r.Close())
	}
	path := ts.MkAbs(args[1])
	ts.Check(os.WriteFile(path, []byte(out.String()), 0o644))
}

func list(out *strings.Builder, layer int, r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d %o %d:%d %c %s", layer, h.Mode, h.Uid, h.Gid, h.Typeflag, h.Name)
		for k := range h.PAXRecords {
			if attr, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
				fmt.Fprintf(out, " %s", attr)
			}
		}
		out.WriteByte('\n')
	}
}
