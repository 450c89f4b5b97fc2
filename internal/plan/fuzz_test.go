package plan

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// FuzzUnpack gives ADD any bytes for an archive. Whatever they are, all that
// comes of them lies in the destination, and can be written as a layer unless
// that says why not. Whether they are one, BuildKit is asked in conformance's
// FuzzDetect.
func FuzzUnpack(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src := New(nil, Options{})
		must(t, src.Mkfile(ctx, &graph.Mkfile{Path: "/a", Mode: 0o644, Data: data, Timestamp: -1}, nil))
		base := tree(t, "etc/passwd=p", "out/l->../etc", "out/abs->/etc", "out/d/f=f")
		tr := New(base, Options{Limits: layer.Limits{MaxBytes: 1 << 20, MaxEntries: 200}})
		op := dockerfileCopy("a", "/out/")
		op.Unpack = true
		if err := tr.Copy(ctx, src, op, nil); err != nil {
			return
		}
		must(t, tr.emit(ctx, func(e layer.Entry, _ content) error {
			if e.Name != "out" && !strings.HasPrefix(e.Name, "out/") {
				t.Errorf("%q lies outside of the destination", e.Name)
			}
			return nil
		}))
		tr.clearLinks()
		w := layer.NewWriter(ctx, &bytes.Buffer{}, layer.WriterOptions{Compression: layer.Uncompressed})
		defer w.Abort()
		if err := tr.Emit(ctx, w); err != nil {
			return
		}
		if _, err := w.Finish(); err != nil {
			t.Error(err)
		}
		if _, err := tr.Lookup(ctx, "etc/passwd"); errors.Is(err, fs.ErrNotExist) {
			t.Error("a file outside of the destination is gone")
		}
	})
}

// seeds are small archives of all kinds, and what is nearly one.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	pack := func(headers ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			h.Mode = 0o644
			body := []byte(h.Name)
			if h.Typeflag != tar.TypeReg {
				body = nil
			}
			h.Size = int64(len(body))
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
			if _, err := w.Write(body); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	plain := pack(tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, tar.Header{Typeflag: tar.TypeReg, Name: "d/f", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
		tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "d/f"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "s", Linkname: "/etc"}, tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3})
	out := [][]byte{
		nil, plain, plain[:700], plain[:len(plain)-1024], []byte("PK\x03\x04"), []byte("<html>"), []byte("BZh91AY&SY"), []byte("\x1f\x8b\x08"), make([]byte, 1024),
		pack(tar.Header{Typeflag: tar.TypeReg, Name: "../x"}), pack(tar.Header{Typeflag: tar.TypeReg, Name: "l/x"}), pack(tar.Header{Typeflag: tar.TypeReg, Name: "abs/x"}),
		pack(tar.Header{Typeflag: tar.TypeSymlink, Name: "d", Linkname: ".."}, tar.Header{Typeflag: tar.TypeReg, Name: "d/etc/passwd"}),
		pack(tar.Header{Typeflag: tar.TypeReg, Name: "d"}, tar.Header{Typeflag: tar.TypeReg, Name: "d/x"}), pack(tar.Header{Typeflag: tar.TypeReg, Name: ".wh.d"}),
		pack(tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("n/", 200) + "n"}),
	}
	var b bytes.Buffer
	x, err := xz.NewWriter(&b)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := x.Write(plain); err != nil {
		f.Fatal(err)
	}
	if err := x.Close(); err != nil {
		f.Fatal(err)
	}
	for _, packed := range []string{bytesOf(f, bzip2Archive), b.String(), zstded(string(plain)), gzipped(f, string(plain))} {
		out = append(out, []byte(packed), []byte(packed[:len(packed)/2]))
	}
	return out
}
