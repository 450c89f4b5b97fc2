package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// archive writes a tar the way others do, with archive/tar.
func archive(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestScanNames(t *testing.T) {
	tests := []struct {
		tar  []string // a trailing slash makes a directory
		want string
	}{
		{[]string{"./", "./a/", "./a/b"}, ". a a/b"},
		{[]string{"/a", "//b/"}, "a b"},
		{[]string{"b", "a/x", "a-", "a/"}, "a a/x a- b"},
		{[]string{"a//b/./c"}, "a/b/c"},
		{[]string{"a/.wh.b"}, "a/b(w)"},
		{[]string{".wh.a/"}, "a(w)"},
		{[]string{"a/", "a/.wh..wh..opq"}, "a(o)"},
		{[]string{"a/.wh..wh..opq", "a/b", "a/"}, "a(o) a/b"},
		{[]string{"a/.wh..wh..opq"}, "a(o)"},
		{[]string{".wh..wh..opq"}, ".(o)"},
		{[]string{".wh.a", "a/"}, "a(o)"},
		{[]string{".wh..wh.plnk/", ".wh..wh.plnk/1", ".wh..wh.aufs", "a"}, "a"},
		{[]string{"a", "a", "b"}, "a b"},
	}
	for _, tt := range tests {
		var headers []*tar.Header
		for _, name := range tt.tar {
			h := &tar.Header{Name: name, Mode: 0o644}
			if strings.HasSuffix(name, "/") {
				h.Typeflag = tar.TypeDir
			}
			headers = append(headers, h)
		}
		toc, _, err := Scan(context.Background(), bytes.NewReader(archive(t, headers...)), ScanOptions{})
		if err != nil {
			t.Errorf("%q: %v", tt.tar, err)
			continue
		}
		var got []string
		for e := range toc.All() {
			switch {
			case e.Type == Whiteout:
				e.Name += "(w)"
			case e.Opaque:
				e.Name += "(o)"
			}
			got = append(got, e.Name)
		}
		if d := cmp.Diff(tt.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%q: %s", tt.tar, d)
		}
	}
}

func TestScanEntries(t *testing.T) {
	now := time.Unix(1_700_000_000, 900_000_000)
	data := archive(t,
		&tar.Header{Name: "f", Size: 1000, Mode: 0o4755, Uid: 7, Gid: 8, ModTime: now, Format: tar.FormatPAX, PAXRecords: map[string]string{
			"SCHILY.xattr.user.a": "b", "SCHILY.xattr.trusted.overlay.redirect": "/x", "SCHILY.xattr.user.overlay.opaque": "y"}},
		&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"path": "evil", "comment": "c"}},
		&tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "/f"},
		&tar.Header{Name: "z", Size: 513},
	)
	toc, diffID, err := Scan(context.Background(), bytes.NewReader(append(data, "trailing"...)), ScanOptions{Digests: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := digest.FromBytes(append(data, "trailing"...)); diffID != want {
		t.Errorf("DiffID %s, want %s: bytes after the end belong to it", diffID, want)
	}
	f, _ := toc.Lookup("f")
	want := Entry{Name: "f", Type: Regular, Size: 1000, Mode: 0o4755, UID: 7, GID: 8, ModTime: 1_700_000_000,
		Xattrs: map[string]string{"user.a": "b"}, Digest: digest.FromBytes(make([]byte, 1000)), Offset: f.Offset}
	if d := cmp.Diff(want, f, cmp.AllowUnexported(Entry{})); d != "" {
		t.Errorf("entry differs (-want +got):\n%s", d)
	}
	if h, _ := toc.Lookup("h"); h.Linkname != "f" {
		t.Errorf("hard link to %q", h.Linkname)
	}
	if z, _ := toc.Lookup("z"); z.Offset != int64(len(data))-1024-1024 {
		t.Errorf("content of z at %d", z.Offset)
	}
	if toc.Len() != 3 {
		t.Errorf("%d entries", toc.Len())
	}
}

func TestScanRefuses(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"climbs", archive(t, &tar.Header{Name: "a/../../b"}), `entry "a/../../b": ".." in name`},
		{"climbs inside", archive(t, &tar.Header{Name: "a/../b"}), `".." in name`},
		{"link climbs", archive(t, &tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "../b"}), `hard link to "../b"`},
		{"whiteout of nothing", archive(t, &tar.Header{Name: "a/.wh."}), "whiteout of no name"},
		{"whiteout of dot", archive(t, &tar.Header{Name: ".wh.."}), "whiteout of no name"},
		{"whiteout of dots", archive(t, &tar.Header{Name: ".wh..."}), "whiteout of no name"},
		{"under a whiteout", archive(t, &tar.Header{Name: ".wh.a/b"}), "named like a whiteout"},
		{"root is a file", archive(t, &tar.Header{Name: "."}), "the root is no directory"},
		{"long name", archive(t, &tar.Header{Name: strings.Repeat("x", 300)}), "part of name too long"},
		{"file as a directory", archive(t, &tar.Header{Name: "a"}, &tar.Header{Name: "a/b"}), `entry "a/b": directory "a": not a directory`},
		{"file as a directory, by a link", archive(t, &tar.Header{Name: "a"}, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}, &tar.Header{Name: "l/b"}), `directory "a": not a directory`},
		{"links in a circle", archive(t, &tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "a"}, &tar.Header{Name: "a/b"}), "too many levels"},
		{"hard link to itself", archive(t, &tar.Header{Name: "a"}, &tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "a"}), "links to itself"},
		{"hard link to a directory", archive(t, &tar.Header{Name: "a/b"}, &tar.Header{Name: "c", Typeflag: tar.TypeLink, Linkname: "a"}), "is a directory"},
		{"whiteout device", archive(t, &tar.Header{Name: "a", Typeflag: tar.TypeChar}), "device 0:0"},
		{"unknown type", archive(t, &tar.Header{Name: "v", Typeflag: 'V', Format: tar.FormatGNU}), "unknown type"},
		{"negative owner", archive(t, &tar.Header{Name: "v", Uid: -1, Format: tar.FormatGNU}), "out of range"},
		{"cut in content", archive(t, &tar.Header{Name: "a", Size: 2000})[:1000], "unexpected EOF"},
		{"cut in header", archive(t, &tar.Header{Name: "a"})[:100], "unexpected EOF"},
		{"noise", bytes.Repeat([]byte("noise"), 1000), "invalid tar header"},
	}
	for _, tt := range tests {
		_, _, err := Scan(context.Background(), bytes.NewReader(tt.data), ScanOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestScanLimits(t *testing.T) {
	data := archive(t, &tar.Header{Name: "a", Size: 10_000}, &tar.Header{Name: "b"})
	if _, _, err := Scan(context.Background(), bytes.NewReader(data), ScanOptions{Limits: Limits{MaxEntries: 2, MaxBytes: int64(len(data))}}); err != nil {
		t.Errorf("at the limits: %v", err)
	}
	for _, l := range []Limits{{MaxEntries: 1}, {MaxBytes: 10_000}} {
		if _, _, err := Scan(context.Background(), bytes.NewReader(data), ScanOptions{Limits: l}); err == nil {
			t.Errorf("%+v: no error", l)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Scan(ctx, bytes.NewReader(data), ScanOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzScan(f *testing.F) {
	f.Add(write(f, WriterOptions{Compression: Uncompressed}, zoo()...).blob)
	f.Add(archive(f, &tar.Header{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr"}, &tar.Header{Name: "bin/a", Size: 5}, &tar.Header{Name: "usr/a"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		toc, diffID, err := Scan(context.Background(), bytes.NewReader(data), ScanOptions{Digests: true, Limits: Limits{MaxEntries: 1000, MaxBytes: 1 << 22}})
		if err != nil {
			return
		}
		if diffID != digest.FromBytes(data) || toc.RawSize != int64(len(data)) {
			t.Fatal("not all bytes were hashed")
		}
		last := ""
		for e := range toc.All() {
			if last != "" && CompareNames(last, e.Name) >= 0 {
				t.Fatalf("%q before %q", last, e.Name)
			}
			if e.Type == Regular && (e.Offset < 0 || e.Offset+e.Size > toc.RawSize) {
				t.Fatalf("%q lies outside of the tar", e.Name)
			}
			last = e.Name
		}
		poke(t, toc)
	})
}

// poke uses all of a table that anybody may have made.
func poke(t *testing.T, toc *TOC) {
	back, err := DecodeTOC(toc.Encode())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{".", "a", "no/such/name"}
	for e := range back.All() {
		if names = append(names, e.Name); len(names) > 100 {
			break
		}
	}
	l := New("sha256:x", &memFaces{made: made{toc: toc}})
	v, ctx := NewView([]*Layer{l, l}), context.Background()
	for _, name := range names {
		back.Lookup(name)
		for range back.Children(name) {
		}
		_, _ = v.Lookup(ctx, name)
		_, _ = v.ReadDir(ctx, name)
		_, _ = Resolve(ctx, v, name, true)
	}
	if r, err := NewGroupReader(bytes.NewReader(nil), toc); err == nil {
		_, _ = r.ReadAt(make([]byte, 10), 5)
	}
}

// lending lends its bytes in pieces of n.
type lending struct {
	io.Reader
	data []byte
	n    int
}

func (l *lending) Next() ([]byte, error) {
	if len(l.data) == 0 {
		return nil, io.EOF
	}
	n := min(l.n, len(l.data))
	p := l.data[:n:n]
	l.data = l.data[n:]
	return p, nil
}

// What is lent in pieces of any size makes the same table as what is read, and
// stops at the same things.
func TestScanLent(t *testing.T) {
	data := archive(t, &tar.Header{Name: "a", Size: 5000}, &tar.Header{Name: "b", Size: 1}, &tar.Header{Name: "c", Size: 70_000})
	want, wantID, err := Scan(context.Background(), bytes.NewReader(data), ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 511, 512, 4000, len(data)} {
		toc, id, err := Scan(context.Background(), &lending{data: data, n: n}, ScanOptions{})
		if err != nil || id != wantID || !bytes.Equal(toc.Encode(), want.Encode()) {
			t.Errorf("pieces of %d: DiffID %s, error %v", n, id, err)
		}
		if _, _, err := Scan(context.Background(), &lending{data: data[:3000], n: n}, ScanOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("pieces of %d, cut: error %v", n, err)
		}
		small := ScanOptions{Limits: Limits{MaxBytes: 4000}}
		if _, _, err := Scan(context.Background(), &lending{data: data, n: n}, small); err == nil || !strings.Contains(err.Error(), "larger than 4000 bytes") {
			t.Errorf("pieces of %d, too many: error %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Scan(ctx, &lending{data: data, n: 512}, ScanOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
}
