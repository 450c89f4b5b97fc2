//go:build linux

package threats

import (
	"archive/tar"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/layer"
)

func TestT01NamesThatClimb(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"../x", "a/../../x", "/../x", "a/..", ".."} {
		p.refusedLayer(tarOf(t, file(name, "x")), `".." in name`)
		p.refusedArchive(tarOf(t, file(name, "x")), "leads out of the archive")
	}
}

func TestT02AbsoluteNames(t *testing.T) {
	p := newPlace(t)
	p.takenTar(tarOf(t, file("/abs/x", "x")), func(r *result) { r.holds("abs/x", "x") }, `test "$(cat /abs/x)" = x`)
}

func TestT03FileThroughALinkToTheHost(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, symlink("a", p.host.dir), file("a/secret", "inside"))
	p.refusedArchive(data, "leads out of the destination") // as with BuildKit
	p.takenLayer(data, func(r *result) { r.holds(p.inside("secret"), "inside") }, p.fake(`test "$(cat $HOST/secret)" = inside`))
}

func TestT04FileThroughALinkThatClimbs(t *testing.T) {
	p := newPlace(t)
	up := strings.Repeat("../", 30)
	data := tarOf(t, symlink("a", up+p.host.dir), file("a/victim-full", "inside"), symlink("b", ".."), file("b/c", "c"))
	p.refusedArchive(data, "leads out of the destination")
	p.takenLayer(data, func(r *result) {
		r.holds(p.inside("victim-full"), "inside")
		r.holds("c", "c")
	}, p.fake(`test "$(cat $HOST/victim-full)" = inside`))
	p.refusedLayer(tarOf(t, symlink("a", up), file("a/b/../../x", "")), `".." in name`)
}

func TestT05LinksBetweenLayers(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	// What a layer only implies is its own directory, as with containerd and Docker.
	through := p.hub.base(tarOf(t, symlink("a", p.host.dir)), tarOf(t, file("a/x", "x")))
	p.accepted("FROM "+through+"\nRUN test ! -L /a && test -f /a/x && test ! -e $HOST\n").holds("a/x", "x")
	instead := p.hub.base(tarOf(t, dir("d"), file("d/old", "")), tarOf(t, symlink("d", "/e"), file("d/new", "n"), file("e/f", "")))
	got := p.accepted("FROM " + instead + "\nRUN test -L /d && test ! -e /d/old && test -f /e/new\n")
	got.holds("e/new", "n")
	got.lacks("d/old")
}

func TestT06LinksThatLeadNowhere(t *testing.T) {
	p := newPlace(t)
	loop := tarOf(t, symlink("a", "b"), symlink("b", "a"), file("a/x", ""))
	p.refusedTar(loop, "too many levels of symbolic links")
	var chain []entry
	for i := range 300 {
		chain = append(chain, symlink("l"+string(rune('a'+i%26))+strings.Repeat("l", i/26), "l"+string(rune('a'+(i+1)%26))+strings.Repeat("l", (i+1)/26)))
	}
	p.refusedTar(tarOf(t, append(chain, file("la/x", ""))...), "too many levels of symbolic links")
	p.refusedTar(tarOf(t, raw(block(tar.TypeSymlink, "e", octal(0), nil))), "symbolic link to")
	p.refusedTar(tarOf(t, raw(paxBlocks('x', record("linkpath", strings.Repeat("x", 4096))), block(tar.TypeSymlink, "e", octal(0), nil))), "symbolic link to")
	dangling := tarOf(t, symlink("dangling", "/nowhere/at/all"), symlink("self", "self"), symlink("long", strings.Repeat("x/", 2047)))
	p.takenTar(dangling, func(r *result) {
		if got := r.entry("dangling").Linkname; got != "/nowhere/at/all" {
			t.Errorf("dangling leads to %q", got)
		}
	}, "test -L /dangling && test -L /self && test -L /long")
}

func TestT07HardLinks(t *testing.T) {
	p := newPlace(t)
	for name, data := range map[string][]byte{
		"climbs":      tarOf(t, hardlink("h", "../../etc/shadow")),
		"a directory": tarOf(t, dir("d"), hardlink("h", "d")),
		"itself":      tarOf(t, hardlink("h", "h")),
		"the root":    tarOf(t, hardlink("h", "/")),
	} {
		p.part(name, func() { p.refusedLayer(data, `"h"`) })
	}
	for name, data := range map[string][]byte{
		"the host's":    tarOf(t, hardlink("h", p.host.dir+"/secret")),
		"through links": tarOf(t, symlink("l", p.host.dir), hardlink("h", "l/secret")),
		"missing":       tarOf(t, hardlink("h", "nowhere")),
	} {
		p.part(name, func() { p.refusedLayer(data, `"h"`) })
		p.part(name+" in an archive", func() { p.refusedArchive(data, `"h"`) })
	}
	data := tarOf(t, file("f", "f"), symlink("s", p.host.dir+"/secret"), hardlink("h", "f"), hardlink("hs", "s"), dir("d"),
		symlink("l", "/d"), file("d/x", "x"), hardlink("hl", "l/x"))
	p.takenTar(data, func(r *result) {
		r.holds("h", "f")
		r.holds("hl", "x")
		if e := r.entry("hs"); e.Type != layer.Symlink {
			t.Errorf("a link of a symbolic link is %+v", e)
		}
	}, "test /f -ef /h && test -L /hs && test /d/x -ef /hl")
}

func TestT08HardLinkToALinkIsNotWrittenThrough(t *testing.T) {
	p := newPlace(t)
	long := file("h", "").with(func(h *tar.Header) { h.Mode = 0o7777; h.ModTime = then.AddDate(9, 0, 0) })
	data := tarOf(t, symlink("s", p.host.dir+"/victim-full"), hardlink("h", "s"), long.pax("SCHILY.xattr.user.x", "x"))
	p.takenTar(data, func(r *result) {
		r.holds("h", "")
		if e := r.entry("s"); e.Type != layer.Symlink {
			t.Errorf("s is %+v", e)
		}
	}, "test -f /h && test ! -L /h && test -L /s")
}

func TestT09OneNameManyTimes(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("a", "1"), dir("a"), file("a/in", "gone"), symlink("a", p.host.dir), file("a", "last"),
		dir("d"), file("d/x", "gone"), file("d", "file"))
	p.takenTar(data, func(r *result) {
		r.holds("a", "last")
		r.holds("d", "file")
	}, `test "$(cat /a)" = last && test "$(cat /d)" = file`)
	many := make([]entry, 0, 10_000)
	for range cap(many) {
		many = append(many, file("same", ""))
	}
	p.takenTar(tarOf(t, append(many, file("same", "last"))...), func(r *result) { r.holds("same", "last") }, "test -s /same")
}

func TestT10TheRootStaysADirectory(t *testing.T) {
	p := newPlace(t)
	for _, e := range []entry{file(".", ""), symlink(".", p.host.dir), hardlink(".", "f"), device(tar.TypeChar, ".", 1, 3), fifo("."), symlink("./.", "/")} {
		p.refusedLayer(tarOf(t, file("f", ""), e), "the root is no directory")
	}
	for _, name := range []string{"./", "/", "././"} { // which archive/tar would not write
		p.refusedLayer(tarOf(t, raw(block(tar.TypeSymlink, name, octal(0), map[int]string{157: p.host.dir}))), "the root is no directory")
	}
	hidden := tarOf(t, dir(".").with(func(h *tar.Header) { h.Mode, h.Uid = 0, 5 }), file("f", "f"))
	p.takenLayer(hidden, func(r *result) { r.holds("f", "f") }, `test "$(stat -c %a:%u /)" = 0:5`)
}

func TestT30NamesAreBytes(t *testing.T) {
	p := newPlace(t)
	names := []string{"A", "a", "ä", "a\u0308", "\u202e", "\xff", "a\nb", "\x1b[31m", " ", "~", "*", "a\\b", "'", "\"", "$(x)"}
	var entries []entry
	for _, name := range names {
		entries = append(entries, raw(paxBlocks('x', record("path", "d/"+name)), block(tar.TypeReg, "short", octal(1), nil), padded("x")))
	}
	p.takenTar(tarOf(t, entries...), func(r *result) {
		for _, name := range names {
			r.holds("d/"+name, "x")
		}
	}, "test $(find /d -type f -print0 | tr -cd '\\0' | wc -c) = 15")
	p.refusedLayer(tarOf(t, raw(paxBlocks('x', record("path", "\x1b[31m\n/..")), block(tar.TypeReg, "short", octal(0), nil))), `"\x1b[31m\n/.."`)
}

func TestT31LongAndDeepNames(t *testing.T) {
	p := newPlace(t)
	p.refusedLayer(tarOf(t, file(strings.Repeat("n", 256), "")), "part of name too long")
	p.refusedLayer(tarOf(t, raw(paxBlocks('x', record("path", strings.Repeat("d/", 2048)+"d")), block(tar.TypeReg, "short", octal(0), nil))), "name too long")
	odd := []string{strings.Repeat("n", 255), "back\\slash", "dot.", "space ", "con", "nul", "...", "-rf", strings.Repeat("d/", 400) + "d"}
	var entries []entry
	for _, name := range odd {
		entries = append(entries, file("o/"+name, "x"))
	}
	p.takenTar(tarOf(t, entries...), func(r *result) {
		for _, name := range odd {
			r.holds("o/"+name, "x")
		}
	}, "test $(find /o -type f | wc -l) = 9")
	needsRun(t)
	p.accepted("FROM " + p.hub.base(tarOf(t, entries...)) + "\nRUN rm -r /o/d && mkdir /o/d\n").lacks("o/d/d")
}

func TestT33NamesThatASandboxNeeds(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("proc/x", "p"), file("sys/x", "s"), file("dev/null", "not null"), file("dev/x", "d"), file(".dockerenv", ""),
		file("run/secrets/x", "r"), symlink("etc/resolv.conf", p.host.dir+"/victim-empty"), file("etc/hosts", "127.0.0.9 mine\n"))
	p.takenLayer(data, func(r *result) {
		r.holds("proc/x", "p")
		r.holds("dev/null", "not null")
		if e := r.entry("etc/resolv.conf"); e.Type != layer.Symlink {
			t.Errorf("/etc/resolv.conf is %+v", e)
		}
	}, "test -c /dev/null && test ! -e /dev/x && test ! -e /proc/x && test ! -e /sys/x && test -f /run/secrets/x")
}

func TestL03WhatIsOddMustWork(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	lower := tarOf(t, dir("usr"), dir("usr/lib").with(func(h *tar.Header) { h.Mode, h.Uid = 0o711, 7 }), symlink("lib", "/usr/lib"),
		file("usr/lib/so", "so"), symlink("abs", "/usr"))
	upper := tarOf(t, file("usr/lib/implied", "i"), hardlink("linked", "/usr/lib/so"), hardlink("through", "lib/so"))
	got := p.accepted("FROM " + p.hub.base(lower, upper) + `
RUN <<'END'
set -eux
test "$(cat /lib/implied /linked /through /abs/lib/so)" = isososo
test "$(stat -c %a:%u /usr/lib)" = 711:7
END
`)
	got.holds("linked", "so")
	got.holds("through", "so")
	if e := got.entry("usr/lib"); e.Mode != 0o711 || e.UID != 7 {
		t.Errorf("an implied directory lost what it had below: %+v", e)
	}
}

func TestL04NamesInAnnotations(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "f"))
	p.hub.image("odd", func(img *image) {
		img.layers[0].Annotations = map[string]string{"org.opencontainers.image.title": "../../" + p.host.dir + "/pwned"}
		img.manifest["annotations"] = map[string]string{"org.opencontainers.image.title": p.host.dir + "/pwned", "org.opencontainers.image.ref.name": "../../x"}
	}, data)
	p.accepted("FROM $HUB/odd\nCOPY --from=$HUB/odd /f /g\n").holds("g", "f")
}

func TestK02CopyFromAnImageThatClimbs(t *testing.T) {
	p := newPlace(t)
	p.hub.image("evil", nil, tarOf(t, file("../../../../tini", "x")))
	p.refused("FROM scratch\nCOPY --from=$HUB/evil / /\n", `"../../../../tini"`, "$HUB/evil")
}

func TestC01ModeThroughLinks(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, symlink("s", p.host.dir+"/victim-full"), hardlink("h", "s"),
		hardlink("h", "s").with(func(h *tar.Header) { h.Mode = 0o777 }),
		symlink("s", p.host.dir+"/victim-full").with(func(h *tar.Header) { h.Mode, h.Uid = 0o777, 1000 }))
	p.takenTar(data, func(r *result) {
		if e := r.entry("h"); e.Type != layer.Symlink {
			t.Errorf("h is %+v", e)
		}
	}, "test -L /h && test -L /s")
}

func TestC10FirstEntryIsALinkInTheRootsPlace(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{".", "./", "/", "./."} {
		first := raw(block(tar.TypeSymlink, name, octal(0), map[int]string{157: p.host.dir}))
		p.refusedLayer(tarOf(t, first, file("pwned", "x")), "the root is no directory")
	}
}
