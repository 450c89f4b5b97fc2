//go:build linux

package threats

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// stacked wants several layers to be taken, and a COPY of them and a RUN on
// them to agree.
func (p *place) stacked(layers [][]byte, see func(*result), script string) {
	p.t.Helper()
	p.hub.image("stack", nil, layers...)
	see(p.accepted("FROM scratch\nCOPY --from=$HUB/stack / /\n"))
	if canRun() == nil {
		see(p.accepted("FROM " + p.hub.base(layers...) + "\nRUN <<'END'\nset -eux\n" + script + "\nEND\n"))
	}
}

func TestT11Whiteouts(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."} {
		p.refusedLayer(tarOf(t, file(name, "")), "whiteout of no name")
	}
	p.refusedLayer(tarOf(t, file(".wh./x", "")), "named like a whiteout")
	p.refusedLayer(tarOf(t, file(".wh.a/b", "")), "named like a whiteout")
	p.refusedLayer(tarOf(t, file("d/.wh."+strings.Repeat("n", 255), "")), "part of name too long")
	p.refusedArchive(tarOf(t, file(".wh.passwd", "")), "cannot hold a file named")
	p.refusedArchive(tarOf(t, file("d/.wh..wh..opq", "")), "cannot hold a file named")
	below := tarOf(t, file("gone1", ""), file("gone2", ""), file("gone3", ""), file("gone4", ""), file("stays", "s"))
	above := tarOf(t, file(".wh..wh.plnk/1", ""), file(".wh..wh.aufs", ""), file(".wh.gone1", "has content"), symlink(".wh.gone2", p.host.dir),
		device(tar.TypeChar, ".wh.gone3", 1, 1), of(tar.TypeDir, ".wh.gone4/"))
	p.stacked([][]byte{below, above}, func(r *result) {
		r.holds("stays", "s")
		for i := range 4 {
			r.lacks(fmt.Sprintf("gone%d", i+1))
		}
	}, `test -f /stays && test -z "$(ls -d /gone* 2>/dev/null)" && test -z "$(ls -a / | grep wh)"`)
	p.hub.image("emptied", nil, below, tarOf(t, file(".wh..wh..opq", ""), file("new", "n")))
	got := p.accepted("FROM scratch\nCOPY --from=$HUB/emptied / /\n")
	got.holds("new", "n")
	got.lacks("stays")
}

func TestT12WhiteoutsThroughLinks(t *testing.T) {
	p := newPlace(t)
	below := tarOf(t, file("e/passwd", "p"), file("e/group", "g"), symlink("m", "/e"))
	above := tarOf(t, symlink("l", "/e"), file("l/.wh.passwd", ""), file(".wh.m", ""))
	p.stacked([][]byte{below, above}, func(r *result) {
		r.lacks("e/passwd")
		r.lacks("m")
		r.holds("e/group", "g")
	}, "test ! -e /e/passwd && test -f /e/group && test ! -L /m")
	p.hub.image("host", nil, tarOf(t, symlink("l", p.host.dir), file("l/.wh.secret", ""), file("l/.wh.full", "")))
	p.accepted("FROM scratch\nCOPY --from=$HUB/host / /\n")
}

func TestT13OpaqueInAnyOrder(t *testing.T) {
	p := newPlace(t)
	below := tarOf(t, dir("d"), file("d/old", "o"), file("d/x", "below"))
	above := tarOf(t, file("d/new", "n"), file("d/x", "x"), file("d/.wh.x", ""), file("d/.wh..wh..opq", ""), file("d/.wh..wh..opq", ""))
	p.stacked([][]byte{below, above}, func(r *result) {
		r.lacks("d/old")
		r.holds("d/new", "n")
		r.holds("d/x", "x")
	}, "test ! -e /d/old && test -f /d/new && test -f /d/x")
	p.refusedLayer(tarOf(t, file("d", ""), file("d/.wh..wh..opq", "")), "not a directory")
}

func TestT14AttributesOfOverlays(t *testing.T) {
	p := newPlace(t)
	p.refusedLayer(tarOf(t, device(tar.TypeChar, "x", 0, 0)), "0:0")
	p.refusedArchive(tarOf(t, device(tar.TypeChar, "x", 0, 0)), "0:0")
	var entries []entry
	for i, name := range []string{"trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.whiteout",
		"trusted.overlay.overlay.opaque", "user.overlay.opaque", "user.overlay.redirect", "user.overlay.whiteout"} {
		value := map[bool]string{true: "/../.." + p.host.dir, false: "y"}[strings.HasSuffix(name, "redirect")]
		entries = append(entries, dir(fmt.Sprintf("d/%d", i)).pax("SCHILY.xattr."+name, value), file(fmt.Sprintf("f/%d", i), "f").pax("SCHILY.xattr."+name, value))
	}
	below := tarOf(t, dir("d/0"), file("d/0/seen", "s"), dir("d/5"), file("d/5/seen", "s"))
	see := func(r *result) {
		for _, d := range []string{"d", "f"} {
			children, err := r.view.ReadDir(t.Context(), d)
			must(t, err)
			if len(children) != 8 {
				t.Errorf("/%s holds %d files", d, len(children))
			}
			for _, e := range children {
				if len(e.Xattrs) > 0 {
					t.Errorf("%s has %q", e.Name, e.Xattrs)
				}
			}
		}
	}
	p.stacked([][]byte{below, tarOf(t, entries...)}, func(r *result) {
		see(r)
		r.holds("d/0/seen", "s")
		r.holds("d/5/seen", "s")
	}, `test $(cat /d/0/seen /d/5/seen) = ss && test "$(cat /f/*)" = ffffffff`)
	p.takenArchive(tarOf(t, entries...), see)
	for i := range 8 {
		p.write(fmt.Sprintf("d/%d/keep", i), "")
		p.write(fmt.Sprintf("f/%d", i), "")
		must(t, unix.Setxattr(filepath.Join(p.context, "d", fmt.Sprint(i)), "user.overlay.opaque", []byte("y"), 0))
		must(t, unix.Setxattr(filepath.Join(p.context, "f", fmt.Sprint(i)), "user.overlay.metacopy", []byte("y"), 0))
	}
	see(p.accepted("FROM scratch\nCOPY d /d\nCOPY f /f\n"))
	p.noOverlayAttributes()
}

// overlaysOwn are the marks that overlayfs sets on directories that were written to.
var overlaysOwn = []string{".origin", ".impure", ".uuid"}

// noOverlayAttributes looks at all trees of the store for marks that no layer of
// a test here may have led to.
func (p *place) noOverlayAttributes() {
	p.t.Helper()
	must(p.t, filepath.WalkDir(filepath.Join(p.store, "trees"), func(path string, _ fs.DirEntry, err error) error {
		if os.IsPermission(err) || os.IsNotExist(err) {
			return nil
		}
		buf := make([]byte, 4096)
		n, _ := unix.Llistxattr(path, buf)
		for name := range strings.SplitSeq(string(buf[:max(n, 0)]), "\x00") {
			if strings.Contains(name, ".overlay.") && !slices.Contains(overlaysOwn, name[strings.LastIndexByte(name, '.'):]) {
				p.t.Errorf("%s has the attribute %s", path, name)
			}
		}
		return err
	}))
}

func TestT37KindsChangeFromLayerToLayer(t *testing.T) {
	p := newPlace(t)
	layers := [][]byte{
		tarOf(t, dir("d"), file("d/a", ""), file("f", ""), symlink("l", "d")),
		tarOf(t, file("d", "now a file"), dir("f"), file("f/x", ""), dir("l"), file("l/y", "")),
		tarOf(t, dir("d"), file("d/b", "b"), symlink("f", "d")),
	}
	p.stacked(layers, func(r *result) {
		r.lacks("d/a")
		r.lacks("f/x")
		r.holds("d/b", "b")
		if e := r.entry("f"); e.Type != layer.Symlink {
			t.Errorf("f is %+v", e)
		}
	}, "test ! -e /d/a && test -f /d/b && test -L /f && test -f /l/y")
}

func TestC07UnpackingStaysLinear(t *testing.T) {
	p := newPlace(t)
	var entries []entry
	for i := range 5_000 {
		entries = append(entries, file(fmt.Sprintf("d/f%d", i), ""))
	}
	for range 5_000 {
		entries = append(entries, file("d/.wh..wh..opq", ""))
	}
	p.takenLayer(tarOf(t, entries...), func(r *result) { r.holds("d/f7", "") }, "test -f /d/f4999")
	entries = []entry{file("d0/f", "f")}
	for i := range 30 {
		entries = append(entries, symlink(fmt.Sprintf("d%d", i+1), fmt.Sprintf("d%d", i)))
	}
	for i := range 3_000 {
		entries = append(entries, hardlink(fmt.Sprintf("h%d", i), "d30/f"))
	}
	p.takenLayer(tarOf(t, entries...), func(r *result) { r.holds("h7", "f") }, "test -f /h2999")
	entries = nil
	for i := range 200 { // each of them deeper
		entries = append(entries, file(strings.Repeat("a/", i+1)+".wh..wh..opq", ""))
	}
	p.takenLayer(tarOf(t, entries...), func(r *result) { r.entry("a/a") }, "test -d /a/a/a/a")
	entries = []entry{dir("x"), symlink("l", "x")}
	for i := range 8 { // through a link, and nothing of it twice
		entries = append(entries, file(fmt.Sprintf("l/%d/", i)+strings.Repeat("d/", 300)+"f", "f"))
	}
	p.takenLayer(tarOf(t, entries...), func(r *result) { r.holds("x/7/"+strings.Repeat("d/", 300)+"f", "f") }, "test -d /l/7/d/d")
}

func TestC08WhiteoutsWhileLayersUnpackTogether(t *testing.T) {
	needsRun(t)
	layers := [][]byte{tarOf(t, file("d/a", "1"), file("b", "")), tarOf(t, file("d/.wh.a", ""), file(".wh.b", "")), tarOf(t, file("d/a", "3"))}
	for range 4 {
		p := newPlace(t)
		base := p.hub.base(layers...)
		got := p.accepted("FROM " + base + " AS one\nRUN test $(cat /d/a) = 3 && test ! -e /b && touch /1\nFROM " + base +
			" AS two\nRUN test $(cat /d/a) = 3 && touch /2\nFROM scratch\nCOPY --from=one /1 /d/a /\nCOPY --from=two /2 /\n")
		got.holds("a", "3")
	}
}
