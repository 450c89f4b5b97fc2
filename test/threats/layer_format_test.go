//go:build linux

package threats

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ulikunitz/xz"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/layer"
)

// shortFile is a header of an empty file behind other blocks.
func shortFile(before ...[]byte) entry {
	return raw(append(before, block(tar.TypeReg, "short", octal(0), nil))...)
}

func TestT19PaxHeaders(t *testing.T) {
	p := newPlace(t)
	refused := map[string]entry{
		"length too long":    shortFile(paxBlocks('x', "99 path=x\n")),
		"length too short":   shortFile(paxBlocks('x', "7 path=x\n")),
		"length no number":   shortFile(paxBlocks('x', "x path=x\n")),
		"length overflows":   shortFile(paxBlocks('x', "99999999999999999999 path=x\n")),
		"no end of line":     shortFile(paxBlocks('x', "9 path=xy")),
		"more than 1 MiB":    shortFile(paxBlocks('x', record("comment", strings.Repeat("x", 1<<20)))),
		"claims 100 MiB":     raw(block('x', "PaxHeaders/x", octal(100<<20), nil), make([]byte, 1024)),
		"part of a name":     shortFile(paxBlocks('x', record("path", strings.Repeat("n", 256)))),
		"5000 bytes of name": shortFile(paxBlocks('x', record("path", strings.Repeat("n/", 2500)))),
		"NUL in name":        shortFile(paxBlocks('x', record("path", "a\x00b"))),
		"size is garbage":    shortFile(paxBlocks('x', record("size", "garbage"))),
		"size is negative":   shortFile(paxBlocks('x', record("size", "-1"))),
		"owner is garbage":   shortFile(paxBlocks('x', record("uid", "0x0"))),
		"time is no number":  shortFile(paxBlocks('x', record("mtime", "NaN"))),
		"size is a lie":      raw(paxBlocks('x', record("size", "4611686018427387904")), block(tar.TypeReg, "short", octal(1), nil), padded("x")),
	}
	for name, e := range refused {
		p.part(name, func() { p.refusedLayer(tarOf(t, e)) })
	}
	odd := tarOf(t,
		raw(paxBlocks('g', record("path", "global")+record("uid", "5")+record("size", "7")+record("comment", "of git archive"))), file("plain", "x"),
		raw(paxBlocks('x', record("path", "first")+record("path", "last")), block(tar.TypeReg, "short", octal(0), nil)),
		raw(paxBlocks('x', record("SCHILY.dev", "1")+record("LIBARCHIVE.creationtime", "1")+record("vendor.unknown", "x")), block(tar.TypeReg, "vendor", octal(0), nil)),
		raw(paxBlocks('x', record("mtime", "-1.5")), block(tar.TypeReg, "before", octal(0), nil)),
		raw(paxBlocks('x', record("mtime", "1.999999999999")), block(tar.TypeReg, "fraction", octal(0), nil)))
	p.takenLayer(odd, func(r *result) {
		r.holds("plain", "x")
		r.entry("last")
		r.entry("vendor")
		if e := r.entry("plain"); e.UID != 0 {
			t.Errorf("a global header changes %+v", e)
		}
	}, "test -f /plain && test -f /last && test ! -e /first && test ! -e /global")
	for _, when := range []string{"9223372036854775807", "-9223372036854775808", "99999999999"} {
		p.hub.image("when", nil, tarOf(t, shortFile(paxBlocks('x', record("mtime", when)))))
		p.accepted("FROM scratch\nCOPY --from=$HUB/when / /\n").entry("short") // whatever time it then has
	}
}

func TestT20OddHeaders(t *testing.T) {
	p := newPlace(t)
	broken := block(tar.TypeReg, "f", octal(0), nil)
	broken[0] ^= 1
	huge := "\x80\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00"
	refused := map[string]entry{
		"checksum":             raw(broken),
		"size is garbage":      raw(block(tar.TypeReg, "f", "garbage\x00", nil)),
		"size is negative":     raw(block(tar.TypeReg, "f", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil)),
		"size is huge":         raw(block(tar.TypeReg, "f", huge, nil), padded("x")),
		"long name beyond all": shortFile(long('L', strings.Repeat("n/", 2500))),
		"long name of 1 MiB":   shortFile(long('L', strings.Repeat("n", 1<<20))),
		"long link beyond":     raw(long('K', strings.Repeat("x", 4097)), block(tar.TypeSymlink, "l", octal(0), nil)),
		"a volume's label":     raw(block('V', "label", octal(0), nil)),
		"a directory of GNU's": raw(block('D', "dump", octal(0), nil)),
		"multi volume":         raw(block('M', "rest", octal(0), nil)),
		"type unknown":         raw(block('!', "what", octal(0), nil)),
		"sparse of GNU's":      raw(block(tar.TypeGNUSparse, "s", octal(0), map[int]string{257: "ustar  \x00", 386: "00000000000\x0000000000000\x00", 483: "\x80\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00"})),
		"ends within a header": raw(block(tar.TypeReg, "f", octal(0), nil)[:300]),
		"claims more than is":  raw(block(tar.TypeReg, "f", octal(1<<20), nil), padded("x")),
	}
	for name, e := range refused {
		p.part(name, func() { p.refusedLayer(unended(t, e)) })
	}
	v7 := block(tar.TypeReg, "v7", octal(1), map[int]string{257: "\x00\x00\x00\x00\x00\x00\x00\x00"})
	odd := tarOf(t, raw(v7, padded("7")), raw(block(tar.TypeCont, "cont", octal(1), nil), padded("c")), raw(block('\x00', "nul", octal(1), nil), padded("0")),
		raw(block('\x00', "slash/", octal(0), nil)), raw(block(tar.TypeReg, "file/", octal(0), nil)), raw(block(tar.TypeDir, "sized", octal(5), nil)),
		raw(block(tar.TypeReg, "name", octal(1), map[int]string{345: "prefix"}), padded("p")),
		raw(bytes.Repeat(long('L', "replaced"), 100), long('L', "chained/"+strings.Repeat("n", 200)), block(tar.TypeReg, "short", octal(1), nil), padded("l")),
		raw(long('K', p.host.dir+"/secret"), block(tar.TypeSymlink, "k", octal(0), map[int]string{157: "short"})))
	p.takenLayer(odd, func(r *result) {
		for name, body := range map[string]string{"v7": "7", "cont": "c", "nul": "0", "prefix/name": "p", "chained/" + strings.Repeat("n", 200): "l"} {
			r.holds(name, body)
		}
		for _, name := range []string{"slash", "sized"} {
			if e := r.entry(name); e.Type != layer.Directory {
				t.Errorf("%s is %+v", name, e)
			}
		}
	}, "test -d /slash && test -f /cont && test -L /k")
}

func TestT21SparseFiles(t *testing.T) {
	p := newPlace(t)
	const terabyte = "1099511627776"
	for name, records := range map[string]string{
		"0.0": record("GNU.sparse.size", terabyte) + record("GNU.sparse.numblocks", "1") + record("GNU.sparse.offset", "0") + record("GNU.sparse.numbytes", "1"),
		"0.1": record("GNU.sparse.size", terabyte) + record("GNU.sparse.numblocks", "1") + record("GNU.sparse.map", "0,1"),
		"1.0": record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", terabyte) + record("GNU.sparse.name", "s"),
	} {
		p.part(name, func() {
			data := tarOf(t, file("first", ""), raw(paxBlocks('x', records), block(tar.TypeReg, "s", octal(512), nil), padded("1\n0\n1\n")))
			p.refusedTar(data, "sparse")
		})
	}
}

func TestL01SparseMapsWithoutEnd(t *testing.T) {
	p := newPlace(t)
	regions := "1000000\n" + strings.Repeat("0\n0\n", 1_000_000)
	records := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "1") + record("GNU.sparse.name", "s")
	p.refusedLayer(tarOf(t, raw(paxBlocks('x', records), block(tar.TypeReg, "s", octal(int64(len(regions))), nil), padded(regions))), "sparse")
	extension := make([]byte, 512)
	extension[504] = 1 // and another one follows
	chain := raw(block(tar.TypeGNUSparse, "s", octal(0), map[int]string{257: "ustar  \x00", 482: "\x01", 483: "07777777777\x00"}), bytes.Repeat(extension, 10_000))
	p.refusedLayer(tarOf(t, chain))
}

// limited makes the builds of the place have limits.
func (p *place) limited(l layer.Limits) {
	p.change = func(o *builder.Options) { o.Bounds.Layer = l }
}

// compressed serves an image of one layer in some compression.
func (p *place) compressed(name, mediaType string, blob, raw []byte) {
	p.t.Helper()
	img := &image{mediaType: ocispec.MediaTypeImageManifest}
	img.add(p.hub, mediaType, blob, raw)
	p.hub.lie(name, img, nil)
}

func TestT22Bombs(t *testing.T) {
	p := newPlace(t)
	p.limited(layer.Limits{MaxBytes: 1 << 20})
	bomb := tarOf(t, file("zeros", strings.Repeat("\x00", 4<<20)))
	for mediaType, blob := range map[string][]byte{
		ocispec.MediaTypeImageLayer: bomb, ocispec.MediaTypeImageLayerGzip: gzipped(t, bomb), ocispec.MediaTypeImageLayerZstd: zstdOf(t, bomb),
	} {
		p.compressed("bomb", mediaType, blob, bomb)
		p.refused("FROM scratch\nCOPY --from=$HUB/bomb / /\n", "$HUB/bomb", "larger than 1048576 bytes")
	}
	p.refusedLayer(bomb, "larger than 1048576 bytes")
	// What follows the end of the archive is bounded as well.
	p.refusedLayer(append(tarOf(t, file("f", "")), make([]byte, 4<<20)...), "larger than 1048576 bytes")
	for name, blob := range map[string][]byte{"bomb.tar": bomb, "bomb.tar.gz": gzipped(t, bomb), "bomb.tar.zst": zstdOf(t, bomb), "bomb.tar.xz": xzOf(t, bomb)} {
		p.archive(name, blob)
		p.refused("FROM scratch\nADD "+name+" /\n", name, "unpacks to more than 1048576 bytes")
		_, err := p.try("", p.fromTar(bomb))
		p.refusal(err, "unpacks to more than 1048576 bytes")
	}
	p.limited(layer.Limits{MaxEntries: 3})
	four := tarOf(t, file("1", ""), file("2", ""), file("3", ""), file("4", ""))
	p.refusedTar(four, "more than 3 entries")
	p.limited(layer.Limits{MaxHeader: 2000, MaxDepth: 3, MaxName: 20})
	p.refusedLayer(tarOf(t, file("x", "").pax("comment", strings.Repeat("x", 2000))), "its headers have 3", "more than 2000")
	p.refusedTar(tarOf(t, file("a/b/c/d", "")), "name too deep")
	p.refusedTar(tarOf(t, file(strings.Repeat("n", 21), "")), "name too long")
	p.change = nil
	for mediaType, blob := range map[string][]byte{ocispec.MediaTypeImageLayerGzip: gzipped(t, bomb), ocispec.MediaTypeImageLayerZstd: zstdOf(t, bomb)} {
		p.compressed("no-bomb", mediaType, blob, bomb)
		if got := p.accepted("FROM scratch\nCOPY --from=$HUB/no-bomb / /\n"); got.entry("zeros").Size != 4<<20 {
			t.Errorf("zeros is %+v", got.entry("zeros"))
		}
	}
}

func TestT22MembersAndGarbage(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "f"))
	empty := gzipped(t, nil)
	members := append(bytes.Repeat(empty, 50_000), gzipped(t, data)...)
	p.compressed("members", ocispec.MediaTypeImageLayerGzip, members, data)
	p.accepted("FROM scratch\nCOPY --from=$HUB/members / /\n").holds("f", "f")
	p.emptyStore() // which knows the layer already, whatever its blob is
	p.compressed("garbage", ocispec.MediaTypeImageLayerGzip, append(gzipped(t, data), "garbage"...), data)
	p.refused("FROM scratch\nCOPY --from=$HUB/garbage / /\n", "$HUB/garbage")
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18}, 0, 0, 0, 0)
	p.compressed("skippable", ocispec.MediaTypeImageLayerZstd, append(zstdOf(t, data), bytes.Repeat(skippable, 50_000)...), data)
	p.accepted("FROM scratch\nCOPY --from=$HUB/skippable / /\n").holds("f", "f")
	name := append([]byte{0x1f, 0x8b, 8, 0x08 | 0x10, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte("n"), 1<<20)...)
	p.compressed("named", ocispec.MediaTypeImageLayerGzip, append(append(name, 0, 0), gzipped(t, data)[10:]...), data)
	if _, err := p.try("FROM scratch\nCOPY --from=$HUB/named / /\n"); err != nil {
		p.refusal(err, "$HUB/named") // as long as it ends, either will do
	}
	// Behind the end of the archive nothing is a file, but it counts for the digest.
	tail := slices.Concat(data, []byte("not zeros"))
	p.takenLayer(tail, func(r *result) { r.holds("f", "f") }, "test -f /f")
}

func TestL05WindowsAndDictionaries(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "f"))
	for name, header := range map[string][]byte{
		"window of 2 GiB":   {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8},
		"window of 128 GiB": {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xd8},
		"a dictionary":      {0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x50, 0x07},
	} {
		blob := slices.Concat(header, []byte{0x01, 0x00, 0x00})
		p.compressed("window", ocispec.MediaTypeImageLayerZstd, blob, data)
		p.part(name, func() { p.refused("FROM scratch\nCOPY --from=$HUB/window / /\n", "$HUB/window") })
		p.archive("window.tar.zst", blob)
		if strings.HasPrefix(name, "window") {
			p.refused("FROM scratch\nADD window.tar.zst /\n", "window.tar.zst", "bytes of memory")
		} else { // no archive that we can read: a file
			p.accepted("FROM scratch\nADD window.tar.zst /\n").entry("window.tar.zst")
		}
	}
	// An xz file whose second block wants 4 GiB; the first one is honest.
	honest := xzOf(t, data)
	greedy := bytes.Clone(honest)
	at := 12 // of the block's header, behind that of the stream
	size := (int(greedy[at]) + 1) * 4
	greedy[at+size-4-bytes.IndexByte(reversed(greedy[at:at+size-4]), greedyCode(honest[at:at+size]))-1] = 40
	binary.LittleEndian.PutUint32(greedy[at+size-4:], crc32.ChecksumIEEE(greedy[at:at+size-4]))
	p.archive("honest.tar.xz", append(honest, honest...))
	p.accepted("FROM scratch\nADD honest.tar.xz /\n").holds("f", "f")
	p.archive("greedy.tar.xz", append(honest, greedy...))
	p.refused("FROM scratch\nADD greedy.tar.xz /\n", "greedy.tar.xz", "bytes of memory")
}

// greedyCode finds how a block's header spells its dictionary: the byte behind
// the filter's name (0x21) and the size of its properties (1).
func greedyCode(header []byte) byte { return header[bytes.Index(header, []byte{0x21, 1})+2] }

func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[len(b)-1-i] = b[i]
	}
	return out
}

func xzOf(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	must(t, err)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

func TestT23Cuts(t *testing.T) {
	p := newPlace(t)
	bodies := map[string]string{"a": strings.Repeat("a", 700), "d/b": "b"}
	data := tarOf(t, file("a", bodies["a"]), dir("d"), file("d/b", bodies["d/b"]))
	for at := 0; at < len(data); at += 97 {
		cut := data[:at]
		p.hub.image("cut", nil, cut)
		got, err := p.try("FROM scratch\nCOPY --from=$HUB/cut / /\n")
		if err != nil {
			p.refusal(err, "$HUB/cut")
			continue
		}
		// No more than padding is missing of what is there.
		for name, body := range bodies {
			if _, err := got.view.Lookup(t.Context(), name); err == nil {
				got.holds(name, body)
			}
		}
	}
	for name, compress := range map[string]func(testing.TB, []byte) []byte{
		ocispec.MediaTypeImageLayerGzip: gzipped, ocispec.MediaTypeImageLayerZstd: zstdOf,
	} {
		whole := compress(t, data)
		for at := range len(whole) {
			if at%7 != 0 && at < len(whole)-9 {
				continue
			}
			p.emptyStore()
			p.compressed("cut", name, whole[:at], data)
			p.refused("FROM scratch\nCOPY --from=$HUB/cut / /\n", "$HUB/cut")
		}
	}
	p.takenLayer(unended(t, file("f", "f")), func(r *result) { r.holds("f", "f") }, "test -f /f") // as with GNU tar
	needsRun(t)
	p.refused("FROM "+p.hub.base(data[:600])+"\nRUN true\n", "$HUB/base")
}

func TestB13ArchivesThatEndEarly(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", strings.Repeat("f", 5000)))
	for name, whole := range map[string][]byte{"a.tar.gz": gzipped(t, data), "a.tar.zst": zstdOf(t, data), "a.tar.xz": xzOf(t, data), "a.tar": data[:3000]} {
		for _, cut := range []int{len(whole) / 2, len(whole) - 1} {
			p.archive(name, whole[:cut])
			got, err := p.try("FROM scratch\nADD " + name + " /\n")
			if err != nil {
				p.refusal(err, name)
			} else {
				got.entry(name) // it does not even begin like an archive
			}
		}
	}
	p.archive("a.tar.bz2", []byte("BZh91AY&SY")) // and no more: that no goroutine stays is seen in the end
	p.accepted("FROM scratch\nADD a.tar.bz2 /\n").entry("a.tar.bz2")
}

func TestT24BytesThatAreNotWhatTheyWereSaidToBe(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", strings.Repeat("f", 3000)))
	other := tarOf(t, file("f", strings.Repeat("o", 3000)))
	d := digest.FromBytes(data)
	p.hub.image("evil", nil, data)
	for name, blob := range map[string][]byte{"other": other, "longer": append(bytes.Clone(data), 0), "shorter": data[:len(data)-1]} {
		p.hub.blobs[d.String()] = blob
		p.part(name, func() {
			p.refused("FROM scratch\nCOPY --from=$HUB/evil / /\n", "$HUB/evil")
			p.refused("FROM $HUB/evil\nCOPY --from=$HUB/evil /f /g\n", "$HUB/evil")
		})
	}
	for _, size := range []int64{int64(len(data)) + 1, int64(len(data)) - 1, 0} {
		p.hub.image("sized", func(img *image) { img.layers[0].Size = size }, data)
		p.refused("FROM scratch\nCOPY --from=$HUB/sized / /\n", "$HUB/sized")
	}
	// The first answer breaks off, what comes then is another file's end.
	p.hub.blobs[d.String()] = data
	gets := 0
	p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/"+d.String()) || r.Method != http.MethodGet {
			return false
		}
		if gets++; gets == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:1500])
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 1500-%d/%d", len(data)-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(other[1500:])
		return true
	}
	p.refused("FROM scratch\nCOPY --from=$HUB/evil / /\n", "$HUB/evil")
	if gets < 2 {
		t.Errorf("the download was not taken up again")
	}
	p.hub.hook = nil
	p.accepted("FROM scratch\nCOPY --from=$HUB/evil / /\n").holds("f", strings.Repeat("f", 3000))
}

func TestT26MediaTypes(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "f"))
	blobs := map[string][]byte{"tar": data, "gzip": gzipped(t, data), "zstd": zstdOf(t, data)}
	types := map[string]string{"tar": ocispec.MediaTypeImageLayer, "gzip": ocispec.MediaTypeImageLayerGzip, "zstd": ocispec.MediaTypeImageLayerZstd}
	for is, blob := range blobs {
		for said, mediaType := range types {
			p.emptyStore()
			p.compressed("typed", mediaType, blob, data)
			if is == said {
				p.accepted("FROM scratch\nCOPY --from=$HUB/typed / /\n").holds("f", "f")
			} else {
				p.refused("FROM scratch\nCOPY --from=$HUB/typed / /\n", "$HUB/typed")
			}
		}
	}
	for _, mediaType := range []string{"application/octet-stream", "", "application/vnd.oci.image.layer.v1.tar+encrypted", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
		"application/vnd.oci.image.layer.nydus.blob.v1", "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"} {
		p.compressed("typed", mediaType, data, data)
		p.refused("FROM $HUB/typed\n", "$HUB/typed", "unknown media type")
	}
	for _, config := range []string{"application/vnd.oci.empty.v1+json", "application/vnd.cncf.helm.config.v1+json"} {
		p.hub.image("artifact", func(img *image) { img.manifest["config"] = p.hub.blob(config, []byte("{}")) }, data)
		p.refused("FROM $HUB/artifact\n", "$HUB/artifact", "not an image")
	}
	p.hub.put("schema1", "application/vnd.docker.distribution.manifest.v1+json", []byte(`{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:a"}],"history":[]}`))
	p.refused("FROM $HUB/schema1\n", "$HUB/schema1", "schema version 1")
}

func TestT32ManyFiles(t *testing.T) {
	p := newPlace(t)
	var entries []entry
	for i := range 1_000 {
		n := fmt.Sprintf("%d/%d", i%100, i)
		entries = append(entries, file("f/"+n, ""), dir("d/"+n), symlink("l/"+n, "x"), hardlink("h/"+n, "f/0/0"))
	}
	p.takenTar(tarOf(t, entries...), func(r *result) {
		r.holds("f/99/999", "")
		r.holds("h/99/999", "")
		r.entry("d/0/100")
		r.entry("l/0/100")
	}, "test $(stat -c %h /f/0/0) = 1001")
}

func TestT38WhatIsNoArchive(t *testing.T) {
	p := newPlace(t)
	page := "<html>" + strings.Repeat("x", 2000)
	for name, data := range map[string][]byte{
		"page.tar": []byte(page), "page.tar.gz": gzipped(t, []byte(page)), "zip.tar": []byte("PK\x03\x04" + page), "empty.tar": {}, "magic.tar.xz": []byte("\xfd7zXZ\x00" + page),
		"magic.tar.gz": []byte("\x1f\x8b\x08" + page), "twice.tar.gz": gzipped(t, gzipped(t, tarOf(t, file("f", "")))), "zeros.tar": make([]byte, 10240),
	} {
		p.archive(name, data)
		got := p.accepted("FROM scratch\nADD " + name + " /d/\n")
		if e := got.entry("d"); name != "zeros.tar" || e.Type != layer.Directory {
			got.holds("d/"+name, string(data))
		}
	}
	inner := tarOf(t, file("inner", ""))
	p.archive("named.txt", tarOf(t, file("f", "f"), file("inner.tar", string(inner))))
	got := p.accepted("FROM scratch\nADD named.txt /\n") // told by its content
	got.holds("inner.tar", string(inner))
	must(t, os.Symlink(p.host.dir+"/secret", filepath.Join(p.context, "link.tar")))
	p.refused("FROM scratch\nADD link.tar /\n", "link.tar")
}

func TestT22MemoryOfABomb(t *testing.T) {
	p := newPlace(t)
	const size = 96 << 20
	head, zeros := block(tar.TypeReg, "zeros", octal(size), nil), make([]byte, 1<<20)
	sum := digest.SHA256.Digester()
	sum.Hash().Write(head)
	for range size/len(zeros) + 1 { // one more: the end
		sum.Hash().Write(zeros)
	}
	blob := append(gzipped(t, head), bytes.Repeat(gzipped(t, zeros), size/len(zeros)+1)...)
	img := &image{mediaType: ocispec.MediaTypeImageManifest, diffIDs: []digest.Digest{sum.Digest()}}
	img.layers = []ocispec.Descriptor{p.hub.blob(ocispec.MediaTypeImageLayerGzip, blob)}
	p.hub.lie("bomb", img, nil)
	p.write("Dockerfile", p.fake("FROM $HUB/bomb AS bomb\nFROM scratch\nCOPY --from=bomb /zero[s] /zeros\n"))
	if used := p.memoryOf(p.command("build", "-q", ".")); used > 80<<10 {
		t.Errorf("it took %d KiB of memory", used)
	}
}

// memoryOf runs a command, and returns the most memory that it was seen to use,
// in KiB.
func (p *place) memoryOf(cmd *exec.Cmd) (used int) {
	p.t.Helper()
	must(p.t, cmd.Start()) // what it says goes nowhere: there may be much of it
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				p.t.Fatal(err)
			}
			return used
		case <-time.After(5 * time.Millisecond):
		}
		// Not from its rusage, which counts what this process has used too.
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
			_, _ = fmt.Sscan(rest, &used)
		}
	}
}
