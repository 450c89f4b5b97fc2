package output

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/layer"
)

// written makes an image of entries and writes it into a new folder.
func written(t *testing.T, entries ...layer.Entry) string {
	t.Helper()
	images := newImages(t)
	l, err := images.Store.Create(t.Context(), faces.CreateOptions{}, func(w *layer.Writer) error {
		for _, e := range entries {
			if err := w.Add(e, strings.NewReader(strings.Repeat("x", int(e.Size)))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "dest")
	if err := (&Folder{Dir: dest}).Write(t.Context(), imageOf(t, "many", l)); err != nil {
		t.Fatal(err)
	}
	return dest
}

// A file has more names than the file system allows for one: what is beyond them
// is a copy.
func TestG1MoreLinksThanAFileMayHave(t *testing.T) {
	probe := t.TempDir()
	if err := os.WriteFile(filepath.Join(probe, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	most := 1
	for ; most < 70_000; most++ {
		err := os.Link(filepath.Join(probe, "f"), filepath.Join(probe, strconv.Itoa(most)))
		if errors.Is(err, syscall.EMLINK) {
			break
		}
		if err != nil {
			t.Skipf("no hard links here: %v", err)
		}
	}
	if most == 70_000 {
		t.Skip("this file system has no bound for hard links")
	}
	entries := []layer.Entry{{Name: "first", Type: layer.Regular, Mode: 0o640, Size: 3}}
	for i := range most + 10 {
		entries = append(entries, layer.Entry{Name: "l" + strconv.Itoa(i), Type: layer.Hardlink, Linkname: "first"})
	}
	dest := written(t, entries...)
	for _, name := range []string{"first", "l0", "l" + strconv.Itoa(most+9)} {
		data, err := os.ReadFile(filepath.Join(dest, name))
		if err != nil || string(data) != "xxx" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		if fi, err := os.Stat(filepath.Join(dest, name)); err != nil || fi.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
}

// Each name is written from a directory near it; whatever its depth, it comes to
// lie where it belongs.
func TestG1DeepTreesAreWrittenWhole(t *testing.T) {
	var entries []layer.Entry
	dir := "d0"
	for i := range 5 * hop {
		entries = append(entries,
			layer.Entry{Name: dir, Type: layer.Directory, Mode: 0o750, ModTime: int64(i)},
			layer.Entry{Name: dir + "/file", Type: layer.Regular, Mode: 0o644, Size: int64(i)},
			layer.Entry{Name: dir + "/link", Type: layer.Symlink, Linkname: "file"},
			layer.Entry{Name: dir + "/same", Type: layer.Hardlink, Linkname: dir + "/file"})
		dir += "/d" + strconv.Itoa(i+1)
	}
	dest := written(t, entries...)
	for i := range entries {
		e := &entries[i]
		fi, err := os.Lstat(filepath.Join(dest, e.Name))
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Type == layer.Directory && (fi.Mode().Perm() != 0o750 || fi.ModTime().Unix() != e.ModTime):
			t.Errorf("%s: %v, %v", e.Name, fi.Mode(), fi.ModTime())
		case e.Type == layer.Regular && fi.Size() != e.Size:
			t.Errorf("%s: %d bytes", e.Name, fi.Size())
		}
	}
}
