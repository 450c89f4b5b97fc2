package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
)

// zoo has one of everything a layer may hold.
func zoo() []item {
	long := strings.Repeat("long/", 60) + "name"
	caps := reg("bin/ping", "ELF")
	caps.Mode, caps.Xattrs = 0o4755, map[string]string{"security.capability": "\x01\x00\x00\x02\n=", "user.a": "b"}
	old := reg("old", "x")
	large := int64(4_000_000_000) // more than an int of 32 bits
	old.ModTime, old.UID, old.GID = -5, 3_000_000, int(large)
	root := dir(".")
	root.Mode = 0o1777
	return []item{
		root, dir("bin"), caps, hard("bin/ping6", "bin/ping"), opaqueDir("etc"), reg("etc/empty", ""), wh("etc/gone"),
		{Entry: Entry{Name: "dev-null", Type: Char, Mode: 0o666, Devmajor: 1, Devminor: 3}},
		{Entry: Entry{Name: "fifo", Type: Fifo, Mode: 0o600}},
		dir(strings.TrimSuffix(long, "/name")), reg(long, "deep"), old, sym("s", "../../etc/passwd"),
		sym("t", strings.Repeat("far/", 50)), reg("ünïcode", "u"), reg(strings.Repeat("n", 200), "wide"), wh("zz"),
	}
}

func TestWriterIsReadBack(t *testing.T) {
	m := write(t, WriterOptions{}, zoo()...)
	toc, diffID, err := Scan(context.Background(), bytes.NewReader(m.raw(t)), ScanOptions{Digests: true})
	if err != nil {
		t.Fatal(err)
	}
	if diffID != m.diffID {
		t.Errorf("DiffID: scanned %s, written %s", diffID, m.diffID)
	}
	want, got := entries(m.toc), entries(toc)
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Entry{})); d != "" {
		t.Errorf("entries differ (-written +scanned):\n%s", d)
	}
	if len(want) != len(zoo()) || m.toc.RawSize != toc.RawSize {
		t.Errorf("%d entries of %d, %d and %d bytes", len(want), len(zoo()), m.toc.RawSize, toc.RawSize)
	}
	if d := digest.FromBytes(m.blob); d != m.desc.Digest || m.desc.Size != int64(len(m.blob)) {
		t.Errorf("descriptor %v of a blob %s of %d bytes", m.desc, d, len(m.blob))
	}
}

func entries(t *TOC) []Entry {
	var all []Entry
	for e := range t.All() {
		all = append(all, e)
	}
	return all
}

// TestWriterHeaders compares what archive/tar reads with what was meant.
func TestWriterHeaders(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(write(t, WriterOptions{Compression: Uncompressed}, zoo()...).raw(t)))
	var names []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uname != "" || h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() || h.ModTime.Nanosecond() != 0 {
			t.Errorf("%s: header says more than it should: %+v", h.Name, h)
		}
		names = append(names, h.Name)
	}
	got := strings.Join(names, " ")
	for _, want := range []string{"./ bin/ bin/ping bin/ping6 etc/ etc/.wh..wh..opq etc/empty etc/.wh.gone ", " .wh.zz"} {
		if !strings.Contains(got+" ", want) {
			t.Errorf("names %q lack %q", got, want)
		}
	}
}

func TestWriterIsReadByTar(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("no tar on this machine: ", err)
	}
	f := filepath.Join(t.TempDir(), "layer.tar.gz")
	if err := os.WriteFile(f, write(t, WriterOptions{}, zoo()...).blob, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "-tzvf", f)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Its columns move with their widest cell.
	list := strings.Join(strings.Fields(string(out)), " ") + " "
	for _, want := range []string{
		"drwxrwxrwt 0/0", "-rwsr-xr-x 0/0 3 2001-09-09 01:46 bin/ping ", "bin/ping6 link to bin/ping ",
		"3000000/4000000000", "1969-12-31 23:59 old ", "s -> ../../etc/passwd ", "crw-rw-rw- 0/0 1,3", "ünïcode ",
		strings.Repeat("long/", 60) + "name ", strings.Repeat("n", 200) + " ",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("tar does not show %q in:\n%s", want, out)
		}
	}
}

func TestWriterDeterminism(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	items := append(forest(20, 40, 9_000), reg("huge", noise(7, 9<<20+77)), reg("last", "end"))
	for _, c := range []Compression{Gzip, Zstd, Uncompressed} {
		t.Run(c.Name(), func(t *testing.T) {
			var first made
			for i, procs := range []int{1, 2, 8} {
				runtime.GOMAXPROCS(procs)
				m := writeTrickled(t, WriterOptions{Compression: c}, uint64(i), items)
				if i == 0 {
					first = m
				}
				if m.diffID != first.diffID || m.desc.Digest != first.desc.Digest || !bytes.Equal(m.toc.Encode(), first.toc.Encode()) {
					t.Errorf("GOMAXPROCS %d: other bytes", procs)
				}
			}
			if len(first.toc.Groups) < 5 {
				t.Errorf("only %d groups", len(first.toc.Groups))
			}
			if got := digest.FromBytes(first.raw(t)); got != first.diffID {
				t.Errorf("blob holds %s, DiffID is %s", got, first.diffID)
			}
		})
	}
}

func writeTrickled(t *testing.T, o WriterOptions, seed uint64, items []item) made {
	t.Helper()
	spool, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	if seed%2 == 1 {
		o.Spool = spool
	}
	var blob bytes.Buffer
	w := NewWriter(context.Background(), &blob, o)
	defer w.Abort()
	rnd := rand.New(rand.NewPCG(seed, 2))
	for _, it := range items {
		if err := w.Add(it.Entry, trickle{strings.NewReader(it.content), rnd}); err != nil {
			t.Fatal(err)
		}
	}
	var m made
	if m.diffID, err = w.Finish(); err != nil {
		t.Fatal(err)
	}
	if w.TOC().Len() != len(items) {
		t.Errorf("TOC after Finish has %d entries of %d", w.TOC().Len(), len(items))
	}
	if m.desc, m.toc, err = w.Wait(); err != nil {
		t.Fatal(err)
	}
	m.blob = blob.Bytes()
	return m
}

// counted counts what is compressed anew.
type counted struct {
	Compression
	n atomic.Int64
}

func (c *counted) Append(dst, raw []byte) ([]byte, error) {
	c.n.Add(1)
	return c.Compression.Append(dst, raw)
}

func TestWriterReuse(t *testing.T) {
	items := append(forest(60, 40, 15_000), reg("huge", noise(7, 20<<20)), reg("last", "end"))
	// What compresses fast tests as well.
	old := write(t, WriterOptions{Compression: Uncompressed}, items...)
	changes := map[string]func() []item{
		"nothing": func() []item { return items },
		"one file changed": func() []item {
			c := append([]item(nil), items...)
			c[1000] = reg(c[1000].Name, "other")
			return c
		},
		"one file added": func() []item {
			return append(append(append([]item(nil), items[:1000]...), reg(items[999].Name+"+", noise(1, 20_000))), items[1000:]...)
		},
		"one file removed": func() []item { return append(append([]item(nil), items[:1000]...), items[1001:]...) },
		"end of the huge file": func() []item {
			c := append([]item(nil), items...)
			c[len(c)-2] = reg("huge", c[len(c)-2].content+"more")
			return c
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			c := &counted{Compression: Uncompressed}
			changed := change()
			m := write(t, WriterOptions{Compression: c, Reuse: &Reuse{TOC: old.toc, Blob: bytes.NewReader(old.blob)}}, changed...)
			most := int64(2)
			if name == "nothing" {
				most = 0
			}
			if n := c.n.Load(); n > most {
				t.Errorf("%d of %d groups compressed, want at most %d", n, len(m.toc.Groups), most)
			}
			if fresh := write(t, WriterOptions{Compression: Uncompressed}, changed...); fresh.desc.Digest != m.desc.Digest {
				t.Error("blob differs from one made without reuse")
			}
		})
	}
}

// A digest that is said of another content makes no layer of that content.
func TestWriterReuseOfLies(t *testing.T) {
	for name, size := range map[string]int{"small": 9_000, "large": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			before, after := reg("f", noise(1, size)), reg("f", noise(2, size))
			before.Digest = digest.FromString(before.content)
			after.Digest = before.Digest
			old := write(t, WriterOptions{}, before)
			m := write(t, WriterOptions{Reuse: &Reuse{TOC: old.toc, Blob: bytes.NewReader(old.blob)}}, after)
			if d := digest.FromBytes(m.raw(t)); d != m.diffID {
				t.Errorf("DiffID %s, but the blob holds %s", m.diffID, d)
			}
			again := write(t, WriterOptions{Reuse: &Reuse{TOC: m.toc, Blob: bytes.NewReader(m.blob)}}, before)
			if again.desc.Digest != old.desc.Digest {
				t.Error("what was said once is believed of another content")
			}
		})
	}
}

func TestWriterReuseOfDamage(t *testing.T) {
	items := forest(10, 40, 9_000)
	old := write(t, WriterOptions{}, items...)
	damaged := bytes.Clone(old.blob)
	damaged[len(damaged)/2] ^= 1
	for name, blob := range map[string][]byte{"bit": damaged, "short": damaged[:100], "none": nil} {
		m := write(t, WriterOptions{Reuse: &Reuse{TOC: old.toc, Blob: bytes.NewReader(blob)}}, items...)
		if m.desc.Digest != old.desc.Digest {
			t.Errorf("%s: damage was copied", name)
		}
	}
	other := &counted{Compression: Zstd}
	m := write(t, WriterOptions{Compression: other, Reuse: &Reuse{TOC: old.toc, Blob: bytes.NewReader(old.blob)}}, items...)
	if int(other.n.Load()) != len(m.toc.Groups) {
		t.Error("groups of another compression were copied")
	}
}

func TestWriterRefuses(t *testing.T) {
	short, longer := reg("a/short", "12345"), reg("a/longer", "12345")
	short.Size, longer.Size = 6, 4
	badXattr := reg("x", "")
	badXattr.Xattrs = map[string]string{"user.a=b": ""}
	tests := []struct {
		item item
		want string
	}{
		{short, `entry "a/short": content of 6 bytes: ends early`},
		{longer, `entry "a/longer": content is longer than its size 4`},
		{reg("/abs", ""), "not a clean relative path"},
		{reg("../up", ""), "not a clean relative path"},
		{reg("a/../b", ""), "not a clean relative path"},
		{reg("a\x00b", ""), "NUL in name"},
		{reg("", ""), "not a clean relative path"},
		{reg(strings.Repeat("x", 256), ""), "part of name too long"},
		{reg(strings.Repeat("x/", 3000)+"x", ""), "name too long"},
		{reg("a/.wh.b", ""), "cannot hold a file named"},
		{reg(".", ""), "the root is no directory"},
		{hard("h", "/etc/passwd"), "hard link to"},
		{sym("s", ""), "symbolic link to"},
		{badXattr, "cannot be stored"},
		{item{Entry: Entry{Name: "n", Type: 'V'}}, "unknown type"},
		{item{Entry: Entry{Name: "n", Type: Char, Devmajor: -1}}, "out of range"},
		{item{Entry: Entry{Name: "n", Type: Fifo, UID: -1}}, "out of range"},
	}
	for _, tt := range tests {
		_, err := tryWrite(context.Background(), WriterOptions{}, tt.item)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got error %v, want %q", tt.item.Name, err, tt.want)
		}
	}
}

func TestWriterKeepsItsFirstError(t *testing.T) {
	w := NewWriter(context.Background(), io.Discard, WriterOptions{})
	defer w.Abort()
	first := w.Add(Entry{Name: "a", Type: Regular, Size: 1}, strings.NewReader(""))
	_, err := w.Finish()
	_, _, err2 := w.Wait()
	if first == nil || !errors.Is(err, first) || !errors.Is(err2, first) {
		t.Errorf("got %v, %v, %v", first, err, err2)
	}
}

func TestHeaderNumbers(t *testing.T) {
	e := Entry{Name: "big", Type: Regular, Size: 9 << 33, ModTime: 1 << 40, UID: 1 << 22}
	b, err := appendHeader(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(h.Size, h.ModTime.Unix(), h.Uid); got != fmt.Sprint(e.Size, e.ModTime, e.UID) {
		t.Errorf("archive/tar reads %s", got)
	}
}
