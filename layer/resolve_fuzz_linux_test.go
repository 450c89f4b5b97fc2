package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"
)

// FuzzResolve makes a view of up to three layers out of any tars and looks for
// a path in it. Wherever it leads, it leads to a name of the tree, no link is
// left on the way, and Linux finds the same in a directory with the same files.
func FuzzResolve(f *testing.F) {
	links := archive(f, &tar.Header{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "/usr/bin"}, &tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../.."},
		&tar.Header{Name: "usr/bin/sh", Size: 1}, &tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, &tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "a"})
	hides := archive(f, &tar.Header{Name: ".wh.bin"}, &tar.Header{Name: "usr/.wh..wh..opq"}, &tar.Header{Name: "up/x"}, &tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "usr/bin/sh"})
	none := archive(f)
	for _, name := range []string{"bin/sh", "/bin/../bin/./sh", "up/up/up", "a", "a/b", "../../x", "", ".", "l", "usr//bin/", "up/bin/sh/x"} {
		f.Add(links, none, none, name, true)
		f.Add(links, hides, links, name, false)
	}
	f.Fuzz(func(t *testing.T, one, two, three []byte, name string, last bool) {
		var layers []*Layer
		for _, data := range [][]byte{one, two, three} {
			toc, id, err := Scan(t.Context(), bytes.NewReader(data), ScanOptions{Limits: Limits{MaxEntries: 200, MaxBytes: 1 << 20}})
			if err != nil {
				return
			}
			layers = append(layers, New(id, tocFaces{toc: toc}))
		}
		v := NewView(layers)
		resolves(t, v, name, last)
		asKernel(t, v, name, last)
	})
}

// tocFaces is a layer of which only the table of contents is there.
type tocFaces struct {
	Faces
	toc *TOC
}

func (f tocFaces) TOC(context.Context) (*TOC, error) { return f.toc, nil }

func resolves(t *testing.T, v *View, name string, last bool) {
	t.Helper()
	to, err := Resolve(t.Context(), v, name, last)
	if err != nil {
		return // a loop, or a hard link that leads nowhere
	}
	if to != "." && (path.Clean(to) != to || strings.HasPrefix(to, "/") || to == ".." || strings.HasPrefix(to, "../")) {
		t.Fatalf("%q leads to %q", name, to)
	}
	for at := to; at != "."; at = path.Dir(at) {
		e, err := v.Lookup(t.Context(), at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil && e.Type == Symlink && (last || at != to) {
			t.Fatalf("%q leads to %q, but %q is a symbolic link", name, to, at)
		}
	}
	if again, err := Resolve(t.Context(), v, to, last); err != nil || again != to {
		t.Fatalf("%q leads to %q, which leads to %q, %v", name, to, again, err)
	}
	// What can be found there can be listed in its directory.
	e, err := v.Lookup(t.Context(), to)
	if err != nil || to == "." {
		return
	}
	siblings, err := v.ReadDir(t.Context(), path.Dir(to))
	if err != nil {
		return // another hard link that leads nowhere
	}
	for _, s := range siblings {
		if s.Name == to && s.Type == e.Type {
			return
		}
	}
	t.Fatalf("%q is there, and not in its directory", to)
}
