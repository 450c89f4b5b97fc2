package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// needRoot skips what only root, or root of a user namespace, can try.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: owners, devices and overlay attributes need root")
	}
	if err := unix.Setxattr(t.TempDir(), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		t.Skipf("SKIPPED: trusted attributes cannot be set here: %v", err)
	}
}

var testTime = time.Unix(1_700_000_000, 0)

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: testTime, Linkname: content}
}

func folder(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: testTime}
}

func symlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777, ModTime: testTime}
}

func hardlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644, ModTime: testTime}
}

// tarOf writes headers; the content of a regular file is in its Linkname.
func tarOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// listing describes a tree in lines "path mode what".
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		lines = append(lines, rel+" "+describe(t, p, &st))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func describe(t *testing.T, p string, st *unix.Stat_t) string {
	t.Helper()
	mode := fmt.Sprintf("%04o", st.Mode&0o7777)
	if st.Uid != 0 || st.Gid != 0 {
		mode += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if Trusted.isOpaque(p) {
			mode += " opaque"
		}
		return mode + " dir"
	case unix.S_IFLNK:
		to, _ := os.Readlink(p)
		return "-> " + to
	case unix.S_IFREG:
		content, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		return mode + " " + fmt.Sprintf("%q", content)
	case unix.S_IFCHR:
		if st.Rdev == 0 {
			return "whiteout"
		}
		return fmt.Sprintf("%s char %d:%d", mode, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	}
	return mode + " other"
}

var applyTests = map[string]struct {
	tar  []tar.Header
	want []string
	err  string // part of the error; empty for none
}{
	"plain": {
		tar:  []tar.Header{folder("./", 0o750), folder("./d/", 0o700), file("./d/f", "x"), symlink("d/l", "f"), hardlink("d/h", "./d/f")},
		want: []string{"d 0700 dir", `d/f 0644 "x"`, `d/h 0644 "x"`, "d/l -> f"},
	},
	"absolute name is relative":  {tar: []tar.Header{file("/a/b", "x")}, want: []string{"a 0755 dir", `a/b 0644 "x"`}},
	"climbing name":              {tar: []tar.Header{file("../x", "")}, err: `".."`},
	"climbing inside a name":     {tar: []tar.Header{file("a/../../x", "")}, err: `".."`},
	"root is no pipe":            {tar: []tar.Header{{Typeflag: tar.TypeFifo, Name: "."}}, err: "the root is no directory"},
	"root is no symlink":         {tar: []tar.Header{symlink(".", "/etc")}, err: "the root is no directory"},
	"empty name is the root":     {tar: []tar.Header{symlink("/", "/etc")}, err: "the root is no directory"},
	"setuid survives its owner":  {tar: []tar.Header{{Typeflag: tar.TypeReg, Name: "su", Mode: 0o4755, Uid: 5, Gid: 6}}, want: []string{`su 4755 5:6 ""`}},
	"owner out of range":         {tar: []tar.Header{{Typeflag: tar.TypeReg, Name: "x", Uid: int(unmapped)}}, err: "out of range"},
	"absolute symlink as parent": {tar: []tar.Header{symlink("a", "/in/root"), file("a/x", "1")}, want: []string{"a -> /in/root", "in 0755 dir", "in/root 0755 dir", `in/root/x 0644 "1"`}},
	"climbing symlink as parent": {tar: []tar.Header{folder("in", 0o755), symlink("a", "../../../../in"), file("a/x", "1")}, want: []string{"a -> ../../../../in", "in 0755 dir", `in/x 0644 "1"`}},
	"loop as parent":             {tar: []tar.Header{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}, err: "too many levels"},
	"file as parent":             {tar: []tar.Header{file("a", ""), file("a/x", "")}, err: "not a directory"},
	"empty link":                 {tar: []tar.Header{symlink("a", "")}, err: "symbolic link to"},
	"hard link to nowhere":       {tar: []tar.Header{hardlink("a", "etc/passwd")}, err: "no such file"},
	"hard link climbs":           {tar: []tar.Header{hardlink("a", "../../etc/passwd")}, err: `".."`},
	"hard link through symlink":  {tar: []tar.Header{symlink("s", "/etc"), hardlink("a", "s/passwd")}, err: "no such file"},
	"hard link to symlink":       {tar: []tar.Header{symlink("s", "/etc/passwd"), hardlink("a", "s")}, want: []string{"a -> /etc/passwd", "s -> /etc/passwd"}},
	"hard link to directory":     {tar: []tar.Header{folder("d", 0o755), hardlink("a", "d")}, err: "is a directory"},
	"hard link to itself":        {tar: []tar.Header{file("a", ""), hardlink("a", "a")}, err: "to itself"},
	"hard link to whiteout":      {tar: []tar.Header{file(".wh.b", ""), hardlink("a", "b")}, err: "no such file"},
	"hard link then its file": {
		tar:  []tar.Header{file("a", "old"), hardlink("b", "a"), file("b", "new")},
		want: []string{`a 0644 "old"`, `b 0644 "new"`},
	},
	"file replaces link, not its target": {tar: []tar.Header{file("f", "keep"), symlink("l", "f"), file("l", "new")}, want: []string{`f 0644 "keep"`, `l 0644 "new"`}},
	"directory replaces link":            {tar: []tar.Header{folder("d", 0o755), symlink("l", "d"), folder("l", 0o755), file("l/x", "")}, want: []string{"d 0755 dir", "l 0755 opaque dir", `l/x 0644 ""`}},
	"types change": {
		tar:  []tar.Header{file("a", "1"), folder("a", 0o755), file("a/b", "2"), symlink("a", "z"), file("a", "3"), file("a", "4")},
		want: []string{`a 0644 "4"`},
	},
	"directory twice": {
		tar:  []tar.Header{folder("a", 0o755), file("a/b", "2"), folder("a", 0o711)},
		want: []string{"a 0711 dir", `a/b 0644 "2"`},
	},
	"whiteout":                   {tar: []tar.Header{file("d/.wh.x", "")}, want: []string{"d 0755 dir", "d/x whiteout"}},
	"opaque":                     {tar: []tar.Header{folder("d", 0o755), file("d/x", ""), file("d/.wh..wh..opq", "")}, want: []string{"d 0755 opaque dir", `d/x 0644 ""`}},
	"whiteout then directory":    {tar: []tar.Header{file(".wh.d", ""), folder("d", 0o755)}, want: []string{"d 0755 opaque dir"}},
	"whiteout then implied":      {tar: []tar.Header{file(".wh.d", ""), file("d/x", "")}, want: []string{"d 0755 opaque dir", `d/x 0644 ""`}},
	"directory then whiteout":    {tar: []tar.Header{folder("d", 0o755), file("d/x", ""), file(".wh.d", "")}, want: []string{"d 0755 opaque dir", `d/x 0644 ""`}},
	"whiteout of own file":       {tar: []tar.Header{file("x", "1"), file(".wh.x", "")}, want: []string{`x 0644 "1"`}},
	"whiteout then file":         {tar: []tar.Header{file(".wh.x", ""), file("x", "1")}, want: []string{`x 0644 "1"`}},
	"whiteout without name":      {tar: []tar.Header{file("d/.wh.", "")}, err: "whiteout of no name"},
	"whiteout of itself":         {tar: []tar.Header{file(".wh..", "")}, err: "whiteout of no name"},
	"whiteout of parent":         {tar: []tar.Header{file("d/.wh...", "")}, err: "whiteout of no name"},
	"directory named whiteout":   {tar: []tar.Header{file(".wh.d/x", "")}, err: "named like a whiteout"},
	"bookkeeping of aufs":        {tar: []tar.Header{folder(".wh..wh.plnk", 0o755), file(".wh..wh.plnk/1.2", ""), file(".wh..wh.aufs", "")}},
	"device":                     {tar: []tar.Header{{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3}}, want: []string{"null 0666 char 1:3"}},
	"whiteout as device":         {tar: []tar.Header{{Typeflag: tar.TypeChar, Name: "x"}}, err: "0:0"},
	"device out of range":        {tar: []tar.Header{{Typeflag: tar.TypeBlock, Name: "x", Devmajor: 1 << 12}}, err: "out of range"},
	"overlay attributes dropped": {tar: []tar.Header{{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}}}, want: []string{"d 0755 dir"}},
	"component too long":         {tar: []tar.Header{file(strings.Repeat("n", 256), "")}, err: "too long"},
}

func TestApply(t *testing.T) {
	needRoot(t)
	for name, tt := range applyTests {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "tree")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Apply(context.Background(), tarOf(t, tt.tar...), dir, ApplyOptions{})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if got := listing(t, outer); tt.err == "" {
				var want []string
				for _, l := range tt.want {
					want = append(want, "tree/"+l)
				}
				if diff := cmp.Diff(want, got[1:]); diff != "" && len(got)+len(want) > 1 {
					t.Error(diff)
				}
			}
		})
	}
}

func TestApplyTimesAndAttributes(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	big := strings.Repeat("0123456789abcdef", 40_000)
	in := tarOf(t, folder("d", 0o555), file("d/big", big),
		tar.Header{Typeflag: tar.TypeReg, Name: "d/ping", Mode: 0o755, Uid: 7, ModTime: testTime, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": capability}})
	if err := Apply(context.Background(), in, dir, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	var ping layer.Entry
	if err := Trusted.readXattrs(filepath.Join(dir, "d/ping"), &ping); err != nil || ping.Xattrs["security.capability"] != capability {
		t.Errorf("capability %q, %v", ping.Xattrs, err)
	}
	for _, name := range []string{"d", "d/big", "d/ping"} {
		if st, err := os.Lstat(filepath.Join(dir, name)); err != nil || !st.ModTime().Equal(testTime) {
			t.Errorf("%s: time %v, %v", name, st.ModTime(), err)
		}
	}
	if st, err := os.Lstat(dir); err != nil || !st.ModTime().Equal(time.Unix(0, 1)) {
		t.Errorf("root that is not described: %v, %v", st.ModTime(), err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "d/big")); string(got) != big {
		t.Errorf("large file differs, %d bytes", len(got))
	}
}

func TestApplyUsesLowerTrees(t *testing.T) {
	needRoot(t)
	low, up := t.TempDir(), t.TempDir()
	if err := Apply(context.Background(), tarOf(t, folder("etc", 0o711), file("etc/passwd", "root")), low, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	called := 0
	o := ApplyOptions{Lower: func(context.Context) ([]string, error) { called++; return []string{low}, nil }}
	if err := Apply(context.Background(), tarOf(t, hardlink("etc/copy", "etc/passwd")), up, o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"etc 0711 dir", `etc/copy 0644 "root"`}, listing(t, up)); diff != "" || called != 1 {
		t.Error(called, diff)
	}
}

func TestApplyLimits(t *testing.T) {
	needRoot(t)
	for _, l := range []layer.Limits{{MaxEntries: 1}, {MaxBytes: 1100}} {
		err := Apply(context.Background(), tarOf(t, file("a", "12"), file("b", "12")), t.TempDir(), ApplyOptions{Limits: l})
		if err == nil {
			t.Errorf("%+v: no error", l)
		}
	}
}

func TestApplyMany(t *testing.T) {
	needRoot(t)
	var headers []tar.Header
	for i := range 3000 {
		headers = append(headers, file(fmt.Sprintf("d%d/f%d", i%400, i), fmt.Sprint(i)), file("same", fmt.Sprint(i)))
	}
	dir := t.TempDir()
	if err := Apply(context.Background(), tarOf(t, headers...), dir, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "same")); string(got) != "2999" {
		t.Errorf("last of many: %q", got)
	}
	if got := listing(t, dir); len(got) != 3000+400+1 {
		t.Errorf("%d files", len(got))
	}
}

// An error is told of the file that has it, not of the one that is read when it
// comes to light.
func TestApplyErrorNamesItsFile(t *testing.T) {
	needRoot(t)
	headers := []tar.Header{{Typeflag: tar.TypeReg, Name: "bad", PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "?"}}}
	for i := range 200 {
		headers = append(headers, file(fmt.Sprint("good", i), ""))
	}
	err := Apply(t.Context(), tarOf(t, headers...), t.TempDir(), ApplyOptions{})
	if err == nil || !strings.HasPrefix(err.Error(), `unpack "bad": set attribute`) {
		t.Errorf("error %v", err)
	}
}

// Directories that the tar implies belong to root, whatever the one above says.
func TestApplyImpliedDirInSetgidDir(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	above := tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o2775, Gid: 7}
	if err := Apply(t.Context(), tarOf(t, above, file("d/new/f", "")), dir, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"d 2775 0:7 dir", "d/new 0755 dir", `d/new/f 0644 ""`}, listing(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// Run it with TMPDIR on the file system that is asked about.
func BenchmarkApply(b *testing.B) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := range 60_000 {
		size := int64(i * 977 % 8192)
		h := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/lib/%d/p%d/f%d", i/20%37, i/20, i), Mode: 0o644, Size: size, ModTime: testTime}
		if err := w.WriteHeader(&h); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if err := Apply(b.Context(), bytes.NewReader(buf.Bytes()), b.TempDir(), ApplyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// unmapped is an id that no file can have, and no int of 32 bits.
var unmapped int64 = 1<<32 - 1
