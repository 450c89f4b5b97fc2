package suite

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tree is a file system of names; hard links share a *File.
type tree struct {
	files   map[string]*File
	fresh   map[string]bool // of the layer being applied
	entries []File          // of the layer being applied, in its order
	clock   Clock
}

// layers applies layers to an empty file system, by the rules of the image
// specification (layer.md), with code of its own. It returns the entries of each.
func (t *tree) layers(layers []v1.Layer) ([][]File, error) {
	out := [][]File{}
	for i, l := range layers {
		if err := t.layer(l); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		slices.SortStableFunc(t.entries, func(a, b File) int { return strings.Compare(a.Path, b.Path) }) // their order in the tar is the builder's affair
		out = append(out, t.entries)
	}
	return out, nil
}

// layer applies a layer, which must be what the config says.
func (t *tree) layer(l v1.Layer) error {
	want, err := l.DiffID()
	if err != nil {
		return err
	}
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	all := io.TeeReader(r, sum)
	if err := t.apply(all); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, all); err != nil { // what is behind the archive's end
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.Hex {
		return fmt.Errorf("its content is %s, the config says %s", got, want.Hex)
	}
	return nil
}

func (t *tree) apply(r io.Reader) error {
	t.fresh, t.entries = map[string]bool{}, []File{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.entry(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func (t *tree) entry(h *tar.Header, r io.Reader) error {
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if base == ".wh..wh..opq" {
		t.entries = append(t.entries, File{Path: dir, Type: opaque})
		t.hide(dir, false)
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		hidden = path.Join(dir, hidden)
		t.entries = append(t.entries, File{Path: hidden, Type: whiteout})
		t.hide(hidden, true)
		return nil
	}
	t.parents(dir)
	var f *File
	if h.Typeflag == tar.TypeLink {
		if f = t.files[path.Clean("/"+h.Linkname)]; f == nil || path.IsAbs(h.Linkname) { // some readers refuse a slash in front
			return fmt.Errorf("link to %s, which is not there", h.Linkname)
		}
		t.entries = append(t.entries, File{Path: name, Type: "link", Link: path.Clean("/" + h.Linkname)})
	} else {
		var err error
		if f, err = describe(h, r, t.clock); err != nil {
			return err
		}
		e := *f
		e.Path, e.Text = name, ""
		t.entries = append(t.entries, e)
	}
	if f.Type != "dir" {
		t.remove(name)
	}
	t.files[name], t.fresh[name] = f, true
	return nil
}

// parents makes the directories that a layer does not speak of.
func (t *tree) parents(dir string) {
	for ; dir != "/" && t.files[dir] == nil; dir = path.Dir(dir) {
		t.files[dir] = &File{Type: "dir", Mode: "0755", Owner: "0:0"}
		t.fresh[dir] = true
	}
}

// hide removes what lower layers have at and below name.
func (t *tree) hide(name string, self bool) {
	for n := range t.files {
		if !t.fresh[n] && (strings.HasPrefix(n, strings.TrimSuffix(name, "/")+"/") || self && n == name) {
			delete(t.files, n)
		}
	}
}

func (t *tree) remove(name string) {
	maps.DeleteFunc(t.files, func(n string, _ *File) bool { return strings.HasPrefix(n, name+"/") })
	delete(t.files, name)
}

// Types of entries that are no files.
const (
	whiteout = "whiteout"
	opaque   = "opaque"
)

var typeNames = map[byte]string{
	tar.TypeReg: "file", tar.TypeDir: "dir", tar.TypeSymlink: "symlink", tar.TypeFifo: "fifo", tar.TypeChar: "char", tar.TypeBlock: "block",
}

const textLimit = 400

func describe(h *tar.Header, r io.Reader, clock Clock) (*File, error) {
	f := &File{Type: typeNames[h.Typeflag], Owner: fmt.Sprintf("%d:%d", h.Uid, h.Gid), Time: clock.told(h.ModTime)}
	if f.Type == "" {
		return nil, fmt.Errorf("type %q", h.Typeflag)
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if f.Xattrs == nil {
				f.Xattrs = map[string]string{}
			}
			f.Xattrs[name] = fmt.Sprintf("%q", v)
		}
	}
	switch f.Type {
	case "symlink":
		f.Link = h.Linkname
		return f, nil // its mode says nothing
	case "char", "block":
		f.Device = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	case "file":
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		f.bytes(data)
	}
	f.Mode = fmt.Sprintf("%04o", h.Mode&0o7777)
	return f, nil
}

// ofHost is the digest of the machine's own busybox, which is not the same everywhere.
const ofHost = "busybox"

var hostBusybox = sync.OnceValue(func() [sha256.Size]byte {
	data, _ := busybox()
	return sha256.Sum256(data)
})

func (f *File) bytes(data []byte) {
	sum := sha256.Sum256(data)
	if len(data) > 0 && sum == hostBusybox() {
		f.Digest = ofHost
		return
	}
	f.Size, f.Digest = int64(len(data)), hex.EncodeToString(sum[:8])
	if len(data) <= textLimit && utf8.Valid(data) {
		f.Text = string(data)
	}
}

// list sorts the files by name; of the names of one file, all but the first
// point to the first.
func (t *tree) list() []File {
	var out []File
	first := map[*File]string{}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		f := *t.files[name]
		f.Path = name
		if to, ok := first[t.files[name]]; ok {
			f = File{Path: name, Type: "link", Link: to, Owner: f.Owner}
		} else {
			first[t.files[name]] = name
		}
		out = append(out, f)
	}
	return out
}
