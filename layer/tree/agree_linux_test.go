package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// TestHostileNames asks Scan and Apply about the same tars: both accept one, or
// both refuse it for the same reason.
func TestHostileNames(t *testing.T) {
	needRoot(t)
	names := []string{
		"a", "./a", "/a", "//a//b", "a/", "", ".", "./", "/", "..", "../a", "a/..", "a/../b", "...", "a/...", "..a", "a..",
		"a/./b", ".wh.", ".wh..", ".wh...", ".wh.a", ".wh.a/", ".wh.a/b", "d/.wh.a", "d/.wh.", ".wh..wh..opq", "d/.wh..wh..opq",
		".wh..wh..opq/x", ".wh..wh.plnk/1", ".wh..wh.aufs", "..wh.a", "a.wh.b", ".WH.a", "a\\b", "a\nb", "\xff", "ä", " ", "-",
		strings.Repeat("n", 255), strings.Repeat("n", 256), ".wh." + strings.Repeat("n", 251), ".wh." + strings.Repeat("n", 252),
		"C:\\x", "con", "a:b",
	}
	for _, deep := range []int{2047, 2048} { // slow to make and to remove
		sameVerdict(t, file(strings.Repeat("d/", deep)+"d", ""))
	}
	for _, kind := range []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeCont, 'V'} {
		for _, name := range names {
			for _, link := range []string{"f", name} {
				h := tar.Header{Typeflag: kind, Name: name, Mode: 0o644, ModTime: testTime}
				if kind == tar.TypeSymlink || kind == tar.TypeLink {
					h.Linkname = link
				} else if link == name {
					continue
				}
				sameVerdict(t, file("f", "x"), h)
			}
		}
	}
	sameVerdict(t, tar.Header{Typeflag: tar.TypeChar, Name: "c"})
	sameVerdict(t, tar.Header{Typeflag: tar.TypeReg, Name: "u", Uid: 1<<32 - 1})
	sameVerdict(t, tar.Header{Typeflag: tar.TypeReg, Name: "u", Uid: 1<<32 - 2})
	for _, attr := range []string{"user.a", "a", "security.selinux", "user.", "trusted.overlay.opaque", strings.Repeat("n", 300)} {
		sameVerdict(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", PAXRecords: map[string]string{"SCHILY.xattr." + attr: "1"}})
	}
}

// bare is what an error says beside where it happened.
func bare(err error) string {
	if err == nil {
		return ""
	}
	_, what, _ := strings.Cut(err.Error(), `"`)
	return what
}

func sameVerdict(t *testing.T, headers ...tar.Header) {
	t.Helper()
	last := headers[len(headers)-1]
	data, err := tarBytes(headers)
	if err != nil {
		return // no tar can say so
	}
	_, _, scan := layer.Scan(t.Context(), bytes.NewReader(data), layer.ScanOptions{})
	dir := fastDir(t)
	apply := Apply(t.Context(), bytes.NewReader(data), dir, ApplyOptions{})
	if last.Typeflag == tar.TypeLink && scan == nil && apply != nil && strings.Contains(apply.Error(), "no such file in the layer") {
		return // what lies below decides
	}
	if (scan == nil) != (apply == nil) || bare(scan) != bare(apply) {
		t.Errorf("%c %.50q -> %.50q:\nscan:  %.300v\napply: %.300v", last.Typeflag, last.Name, last.Linkname, scan, apply)
	}
}

func tarBytes(headers []tar.Header) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
		}
		h.Format = tar.FormatPAX
		if h.Typeflag == 'V' {
			h.Format = tar.FormatGNU
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(content)); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

// fastDir is a directory that goes with the test, in memory if there is any.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tree-test-*")
	if err != nil || unix.Setxattr(dir, "trusted.overlay.origin", nil, 0) != nil {
		_ = os.RemoveAll(dir)
		return t.TempDir()
	}
	if err := unix.Removexattr(dir, "trusted.overlay.origin"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestViewShowsWhatIsUnpacked makes layers of random entries and compares what a
// View of them shows with what an overlay of their trees shows, whatever their form.
func TestViewShowsWhatIsUnpacked(t *testing.T) {
	needRoot(t)
	stacks := uint64(400)
	if testing.Short() {
		stacks = 100
	}
	for seed := range stacks {
		for _, form := range []Form{Trusted, User, Owned} {
			t.Run(fmt.Sprint(seed, " ", form), func(t *testing.T) { agree(t, rand.New(rand.NewPCG(seed, 0)), form) })
		}
	}
}

// agree builds up a stack of layers until one of them is refused.
func agree(t *testing.T, r *rand.Rand, form Form) {
	t.Helper()
	var layers []*layer.Layer
	var trees []string
	said := ""
	for range 1 + r.IntN(3) {
		headers := randomLayer(r)
		said += "layer:\n"
		for _, h := range headers {
			said += fmt.Sprintf("  %c %s -> %s %o %d\n", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid)
		}
		data, err := tarBytes(headers)
		if err != nil {
			t.Fatal(err)
		}
		toc, diffID, scanned := layer.Scan(t.Context(), bytes.NewReader(data), layer.ScanOptions{})
		dir, below := fastDir(t), trees
		lower := func(context.Context) ([]string, error) { return below, nil }
		applied := Apply(t.Context(), bytes.NewReader(data), dir, ApplyOptions{Form: form, Lower: lower})
		if applied != nil && strings.Contains(applied.Error(), "hard link to") {
			return // what lies below decides, and a later entry may hide the link from a view
		}
		if scanned != nil || applied != nil {
			if (scanned == nil) != (applied == nil) {
				t.Errorf("%s\nscan:  %v\napply: %v", said, scanned, applied)
			}
			return
		}
		layers = append(layers, layer.New(diffID, rawFaces{toc: toc, raw: bytes.NewReader(data)}))
		trees = append(trees, dir)
		var seen []string
		view := layer.NewView(layers)
		if err := viewListing(t.Context(), view, ".", &seen); err != nil {
			t.Fatalf("%s\nview: %v", said, err)
		}
		if diff := cmp.Diff(seen, overlayListing(t, trees, form)); diff != "" {
			t.Fatalf("%s\na view and an overlay differ (-view +overlay):\n%s", said, diff)
		}
	}
}

// randomLayer makes entries that get into each other's way as often as not.
func randomLayer(r *rand.Rand) []tar.Header {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	name := func() string {
		n := pick("a", "b", "c")
		for r.IntN(2) == 0 && len(n) < 6 {
			n += "/" + pick("a", "b", "c")
		}
		return n
	}
	kinds := []byte{tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeChar, 'w', 'o'}
	var all []tar.Header
	for i := range 1 + r.IntN(9) {
		h := tar.Header{
			Typeflag: kinds[r.IntN(len(kinds))], Name: name(), Mode: int64(r.IntN(0o10000)), Uid: r.IntN(3), Gid: r.IntN(3),
			ModTime: time.Unix(int64(r.IntN(2e9)), 0),
		}
		switch h.Typeflag {
		case tar.TypeReg:
			h.Linkname = strings.Repeat(string(rune('A'+i)), r.IntN(4))
			h.Size = int64(len(h.Linkname))
		case tar.TypeDir:
			if r.IntN(6) == 0 {
				h.Name = "."
			}
		case tar.TypeSymlink:
			h.Linkname = pick("", "/", "../", "./") + pick(name(), name(), name(), "..", ".")
		case tar.TypeLink:
			h.Linkname = name()
		case tar.TypeChar:
			h.Devmajor, h.Devminor = 1, int64(1+r.IntN(5))
		case 'w':
			dir, base := path.Split(h.Name)
			h.Typeflag, h.Name = tar.TypeReg, dir+".wh."+base
		case 'o':
			h.Typeflag, h.Name = tar.TypeReg, pick("", h.Name+"/", h.Name+"/")+".wh..wh..opq"
		}
		all = append(all, h)
	}
	return all
}

// rawFaces are those of a layer whose tar is in memory.
type rawFaces struct {
	layer.Faces
	toc *layer.TOC
	raw io.ReaderAt
}

func (f rawFaces) TOC(context.Context) (*layer.TOC, error)  { return f.toc, nil }
func (f rawFaces) Raw(context.Context) (io.ReaderAt, error) { return f.raw, nil }

func viewListing(ctx context.Context, v *layer.View, dir string, lines *[]string) error {
	if dir == "." {
		e, err := v.Lookup(ctx, ".")
		if err != nil {
			return err
		}
		*lines = append(*lines, line(e, ""))
	}
	entries, err := v.ReadDir(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		content := ""
		if e.Type == layer.Regular {
			r, err := v.Open(ctx, e)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			content = string(data)
		}
		*lines = append(*lines, line(e, content))
		if e.Type == layer.Directory {
			if err := viewListing(ctx, v, e.Name, lines); err != nil {
				return err
			}
		}
	}
	return nil
}

func line(e layer.Entry, content string) string {
	if e.Type == layer.Symlink {
		e.Mode = 0
	}
	return fmt.Sprintf("%s %c %04o %d:%d @%d %d,%d %s %s", e.Name, e.Type, e.Mode, e.UID, e.GID, e.ModTime, e.Devmajor, e.Devminor, e.Linkname, content)
}

// overlayListing mounts the trees as a build step would see them.
func overlayListing(t *testing.T, trees []string, form Form) []string {
	t.Helper()
	base := fastDir(t)
	for _, d := range []string{"u", "w", "root", "empty"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(base, "root")
	visible, err := PrepareUpper(filepath.Join(base, "u"), trees, form)
	if err != nil {
		t.Fatal(err)
	}
	lowers := filepath.Join(base, "empty")
	for _, tree := range visible {
		lowers = tree + ":" + lowers
	}
	o := fmt.Sprintf("lowerdir=%s,upperdir=%s/u,workdir=%s/w,metacopy=off,index=off", lowers, base, base)
	if form != Trusted {
		o += ",userxattr"
	}
	if err := unix.Mount("overlay", root, "overlay", 0, o); err != nil {
		t.Skipf("SKIPPED: overlay cannot be mounted here: %v", err)
	}
	defer unix.Unmount(root, unix.MNT_DETACH)
	fd, err := openDir(unix.AT_FDCWD, root)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var lines []string
	err = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		name, _ := filepath.Rel(root, p)
		st, err := statAt(fd, name)
		if errors.Is(err, unix.ENOENT) {
			return nil // overlayfs lists the whiteouts of a directory that one layer alone has
		}
		if err != nil {
			return err
		}
		e, err := form.entry(fd, name, st)
		if err != nil {
			return err
		}
		content := ""
		if e.Type == layer.Regular {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = string(data)
		}
		e.Name = name
		lines = append(lines, line(e, content))
		return nil
	})
	if err != nil {
		t.Fatalf("%v after %q", err, lines)
	}
	return lines
}
