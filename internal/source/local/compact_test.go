package local

import (
	"crypto/sha256"
	"math/bits"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ocibuild/ocibuild/layer"
)

// A context may have a million files.
func TestG1AListedFileIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(compact{}); bits.UintSize == 64 && n > 112 {
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
		k := compactOf(&file{Entry: e, stat: stat})
		if diff := cmp.Diff(e, k.entry(), cmpopts.IgnoreUnexported(layer.Entry{})); diff != "" {
			t.Errorf("%s: %s", e.Name, diff)
		}
	}
}
