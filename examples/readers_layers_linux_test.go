package examples

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// The changes of RUN to what rich.tar has: every kind of whiteout, and every change of a type.
const richDockerfile = `FROM busybox
ADD rich.tar /rich/
COPY context /context/
RUN cd /rich && rm gone && rm -r gonedir && rm links/third \
 && rm -r remade && mkdir -m 0711 remade && echo new >remade/new \
 && rm file-to-dir && mkdir file-to-dir && echo x >file-to-dir/x \
 && rm -r dir-to-file && echo file >dir-to-file \
 && rm -r dir-to-link && ln -s links dir-to-link \
 && rm link-to-dir && mkdir link-to-dir && echo y >link-to-dir/y \
 && mv deep moved && echo more >>links/first && chmod 0700 untouched \
 && truncate -s 50000000 sparse && echo end >>sparse \
 && touch -d @1500000000 dated && chown -h 70000:80000 absolute && mknod made c 7 8
RUN cd /rich && rm -r remade/new && mkdir gonedir && echo back >gone && ln links/first linked \
 && rm -r moved && ln -s nowhere moved && rm fifo && echo file >fifo
`

// What a layer says, three programs understand alike: umoci, GNU tar with the whiteouts of the image specification
// (layer.md) done by hand, and the overlay of what we unpack. The overlay that RUN saw, and the rootfs tar of the image,
// which is made without unpacking anything, are two more ways.
func TestReadersSeeTheSameTree(t *testing.T) {
	p := newPlace(t).withBusybox()
	context := richContext(t)
	rootfs, oci := filepath.Join(t.TempDir(), "rootfs.tar"), filepath.Join(t.TempDir(), "oci")
	p.run("build", "-t", "rich", "-o", "type=image", "-o", "type=tar,dest="+rootfs, "-o", "type=oci,tar=false,dest="+oci, context)

	archive := filepath.Join(t.TempDir(), "image.tar")
	p.run("save", "-o", archive, "rich")
	fresh := newPlace(t) // without the trees that the steps of the build have left
	fresh.run("load", "-i", archive)
	seen := throughOverlay(t, fresh, "rich")
	for _, name := range []string{"rich/sparse", "rich/links/second", "rich/capable", "rich/caf\xe9", "rich/block", "context/a"} {
		if _, ok := seen[name]; !ok {
			t.Errorf("%q is not in the image: not much is compared", name)
		}
	}
	sameTree(t, "build", throughOverlay(t, p, "rich"), "overlay", seen)
	umoci := filepath.Join(t.TempDir(), "umoci")
	output(t, "umoci", "raw", "unpack", "--image", oci+":latest", umoci)
	sameTree(t, "umoci", readTree(t, umoci), "overlay", seen)
	sameTree(t, "tar", readTree(t, throughTar(t, oci)), "overlay", seen)
	sameTree(t, "rootfs", readTree(t, untar(t, rootfs, t.TempDir())), "overlay", seen)
}

// throughOverlay mounts the layers as for a RUN.
func throughOverlay(t *testing.T, p *place, tag string) map[string]treeFile {
	t.Helper()
	dir, err := cache.OpenDir(p.store)
	if err != nil {
		t.Fatal(err)
	}
	m, err := snapshot.NewManager(dir, snapshot.Trusted)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var layers []snapshot.Layer
	for _, l := range p.inspect(tag).Layers {
		layers = append(layers, snapshot.Layer{DiffID: l.DiffID, Blob: dir.BlobPath(l.Digest), MediaType: ocispec.MediaTypeImageLayerGzip})
	}
	trees, err := m.Ensure(t.Context(), layers)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Prepare(t.Context(), trees, snapshot.Bare)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return readTree(t, s.Root())
}

// throughTar applies the layers of a layout with GNU tar.
func throughTar(t *testing.T, oci string) string {
	t.Helper()
	root := t.TempDir()
	for i, id := range layersOf(t, oci) {
		raw := filepath.Join(t.TempDir(), fmt.Sprintf("layer%d.tar", i))
		decompressTo(t, raw, filepath.Join(oci, "blobs/sha256", id.Encoded()))
		makeRoom(t, raw, root)
		untar(t, raw, root, "--wildcards", "--exclude=.wh.*")
	}
	return root
}

func untar(t *testing.T, archive, root string, flags ...string) string {
	t.Helper()
	output(t, "tar", append([]string{"--extract", "--file", archive, "--directory", root, "--numeric-owner", "--same-owner", "--same-permissions",
		"--xattrs", "--xattrs-include=*"}, flags...)...)
	return root
}

// makeRoom removes what a layer hides, and what is of another type than its name has in the layer.
func makeRoom(t *testing.T, archive, root string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		dir, base := path.Split(path.Clean(h.Name))
		victim := filepath.Join(root, dir, base)
		have, err := os.Lstat(victim)
		switch hidden, ok := strings.CutPrefix(base, ".wh."); {
		case base == ".wh..wh..opq":
			empty(t, filepath.Join(root, dir))
			continue
		case ok:
			victim = filepath.Join(root, dir, hidden)
		case err != nil || have.IsDir() && h.Typeflag == tar.TypeDir:
			continue
		}
		if err := os.RemoveAll(victim); err != nil {
			t.Fatal(err)
		}
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func layersOf(t *testing.T, oci string) []digest.Digest {
	t.Helper()
	var index ocispec.Index
	var manifest ocispec.Manifest
	decode(t, filepath.Join(oci, "index.json"), &index)
	decode(t, filepath.Join(oci, "blobs/sha256", index.Manifests[0].Digest.Encoded()), &manifest)
	var ids []digest.Digest
	for _, l := range manifest.Layers {
		ids = append(ids, l.Digest)
	}
	return ids
}

func decode(t *testing.T, file string, to any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func decompressTo(t *testing.T, to, blob string) {
	t.Helper()
	in, err := os.Open(blob)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := layer.NewReader(in, ocispec.MediaTypeImageLayerGzip)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, r); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// richContext is a build context whose archive has what a layer can have.
func richContext(t *testing.T) string {
	t.Helper()
	dir := files(t, map[string]string{"Dockerfile": richDockerfile, "context/a": "a\n", "context/d/b": "b\n"})
	if err := os.Link(filepath.Join(dir, "context/a"), filepath.Join(dir, "context/d/again")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range richHeaders() {
		body := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Linkname, h.Size = "", int64(len(body))
		}
		h.ModTime = time.Unix(1400000000+int64(len(h.Name)), 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rich.tar"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// richHeaders are the entries of the archive; the content of a file stands in Linkname.
func richHeaders() []tar.Header {
	const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
	file := func(name, body string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: body, Mode: 0o644}
	}
	kind := func(typ byte, name, link string, mode int64) tar.Header {
		return tar.Header{Typeflag: typ, Name: name, Linkname: link, Mode: mode}
	}
	noted := func(h tar.Header, key, value string) tar.Header {
		h.PAXRecords = map[string]string{"SCHILY.xattr." + key: value}
		return h
	}
	long := strings.Repeat("n", 255)
	out := []tar.Header{
		file("gone", "gone\n"), file("gonedir/a/b", "gone\n"), file("remade/old", "old\n"), file("untouched", "same\n"), file("dated", "dated\n"),
		file("file-to-dir", "file\n"), file("dir-to-file/x", "x\n"), file("dir-to-link/x", "x\n"), kind(tar.TypeSymlink, "link-to-dir", "links", 0o777),
		file("links/first", "shared\n"), kind(tar.TypeLink, "links/second", "links/first", 0o644), kind(tar.TypeLink, "links/third", "links/first", 0o644),
		kind(tar.TypeLink, "other", "links/first", 0o644), kind(tar.TypeSymlink, "links/soft", "first", 0o777),
		kind(tar.TypeLink, "links/softer", "links/soft", 0o777), file("empty", ""), file("sparse", "start\n"),
		kind(tar.TypeSymlink, "absolute", "/etc/passwd", 0o777), kind(tar.TypeSymlink, "far", strings.Repeat("../t", 300), 0o777),
		kind(tar.TypeFifo, "fifo", "", 0o640), kind(tar.TypeFifo, "pipe", "", 0o600),
		noted(file("capable", "prog\n"), "security.capability", capability), noted(file("noted", "noted\n"), "user.note", "a\x00b"),
		noted(kind(tar.TypeDir, "noteddir/", "", 0o750), "user.dir", "yes"), noted(file("trusted", "t\n"), "trusted.note", "root's"),
		kind(tar.TypeDir, "setgid/", "", 0o2775), kind(tar.TypeDir, "sticky/", "", 0o1777), kind(tar.TypeDir, "closed/", "", 0), file("closed/in", "in\n"),
		file(long, "long\n"), file("deep/"+strings.Repeat(strings.Repeat("d", 99)+"/", 15)+"end", "deep\n"),
		file("new\nline", "1\n"), file("back\\slash", "2\n"), file("ünï☃", "3\n"), file(" space ", "4\n"), file("-dash", "5\n"),
	}
	odd := file("caf\xe9", "latin-1\n")
	odd.Format = tar.FormatGNU
	char, block := kind(tar.TypeChar, "char", "", 0o666), kind(tar.TypeBlock, "block", "", 0o660)
	char.Devmajor, char.Devminor, block.Devmajor, block.Devminor = 1, 3, 250, 70000
	su, large := file("su", "su\n"), file("large", "large\n")
	su.Mode, large.Uid, large.Gid = 0o6755, 4_000_000, 2_000_000_000
	return append(out, odd, char, block, su, large)
}
