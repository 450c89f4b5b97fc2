package local

import (
	"crypto/sha256"
	"math/bits"
	"path"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ocibuild/ocibuild/layer"
)

// A context may have a million files.
func TestG1AListedFileIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(compact{}); bits.UintSize == 64 && n > 80 {
		t.Errorf("a file has %d bytes", n)
	}
}

func TestAListedFileGivesBackItsEntry(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	stat := fileStat{size: 7, mtime: -4_500_000_000, ctime: 1, ino: 2, dev: 3}
	for _, e := range []layer.Entry{
		{Name: "d/f", Type: layer.Regular, Mode: 0o644, Size: 7, ModTime: -5, Digest: digestOf(&sum)},
		{Name: "d/f", Type: layer.Regular, Mode: 0o644, Size: 7, ModTime: -5},
		{Name: "d/linked", Type: layer.Regular, Mode: 0o4755, Size: 7, ModTime: -5, Inode: "3:2", Digest: digestOf(&sum)},
		{Name: "d", Type: layer.Directory, Mode: 0o755, ModTime: -5},
		{Name: "l", Type: layer.Symlink, Mode: 0o777, ModTime: -5, Linkname: "to"},
		{Name: "c", Type: layer.Char, Mode: 0o600, ModTime: -5, Devmajor: 1, Devminor: 3},
	} {
		f := file{Entry: e, stat: stat}
		if e.Digest != "" {
			f.sum, f.hashed, f.sure = sum, true, true
		}
		l := newLister(1)
		l.add("A", &file{Entry: layer.Entry{Type: layer.Directory}, stat: fileStat{dev: stat.dev}})
		l.add(path.Base(e.Name), &f)
		listed := l.done()
		i, ok := listed.search(path.Base(e.Name))
		if !ok || i != 1 {
			t.Fatalf("%s is at %d, %t", e.Name, i, ok)
		}
		f.Entry = e
		if diff := cmp.Diff(f, listed.file(e.Name, 1), cmp.AllowUnexported(file{}, fileStat{}), cmpopts.IgnoreUnexported(layer.Entry{})); diff != "" {
			t.Errorf("%s: %s", e.Name, diff)
		}
		if got := listed.entries(path.Dir(e.Name))[1]; cmp.Diff(e, got, cmpopts.IgnoreUnexported(layer.Entry{})) != "" {
			t.Errorf("%s in its directory: %+v", e.Name, got)
		}
	}
}
