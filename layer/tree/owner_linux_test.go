package tree

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
	"github.com/ocibuild/ocibuild/layer"
)

// What a step changes of owners in attributes is a change, and what it changes
// back is none.
func TestDiffOwned(t *testing.T) {
	needRoot(t)
	low, base := t.TempDir(), t.TempDir()
	owned := func(h tar.Header, uid, gid int) tar.Header { h.Uid, h.Gid = uid, gid; return h }
	err := Apply(t.Context(), tarOf(t, folder(".", 0o755), file("same", "1"), owned(file("given", "2"), 5, 6), owned(symlink("link", "x"), 7, 8),
		owned(symlink("kept", "x"), 7, 8), file("mine", "3"), tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeChar, Name: "zero", Mode: 0o666, Devmajor: 1, Devminor: 5}), low, ApplyOptions{Form: Owned})
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, d := range []string{"u", "w"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	upper := filepath.Join(base, "u")
	if _, err := PrepareUpper(upper, []string{low}, Owned); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("overlay", root, "overlay", 0, fmt.Sprintf("userxattr,index=off,lowerdir=%s,upperdir=%s,workdir=%s/w", low, upper, base)); err != nil {
		t.Skipf("SKIPPED: overlay cannot be mounted here: %v", err)
	}
	for name, o := range map[string]owner.Owner{
		"same": {UID: 1}, "given": {}, "link": {UID: 9}, "mine": {UID: 1}, "zero": {Device: 'c', Major: 1, Minor: 7},
	} {
		if err := owner.Set(filepath.Join(root, name), false, o); err != nil {
			t.Fatal(err)
		}
	}
	for name, o := range map[string]owner.Owner{"same": {}, "kept": {UID: 7, GID: 8}, "null": {Device: 'c', Major: 1, Minor: 3}} {
		if err := owner.Set(filepath.Join(root, name), false, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Unmount(root, 0); err != nil {
		t.Fatal(err)
	}
	var got []string
	add := func(e layer.Entry, _ io.Reader) error {
		got = append(got, fmt.Sprintf("%c %s %d:%d %d,%d %v", e.Type, e.Name, e.UID, e.GID, e.Devmajor, e.Devminor, e.Xattrs))
		return nil
	}
	if err := newDiffer(context.Background(), DiffOptions{Form: Owned, Prune: true}, add).run(upper, []string{low}); err != nil {
		t.Fatal(err)
	}
	want := []string{"0 given 0:0 0,0 map[]", "2 link 9:0 0,0 map[]", "0 mine 1:0 0,0 map[]", "3 zero 0:0 1,7 map[]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A layer cannot say by attributes what a tar's own fields say.
func TestApplyOwnedIgnoresAttributes(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	forged := file("f", "x")
	forged.PAXRecords = map[string]string{"SCHILY.xattr.user.ocibuild.owner": "0:0:c:1:1", "SCHILY.xattr.user.note": "kept"}
	link := symlink("l", "f")
	link.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(owner.Owner{UID: 9}.EncodeCapability())}
	if err := Apply(t.Context(), tarOf(t, forged, link), dir, ApplyOptions{Form: Owned}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"f": "0 0:0 map[user.note:kept]", "l": "2 0:0 map[]"} {
		fd, err := openDir(unix.AT_FDCWD, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		st, err := statAt(fd, name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Owned.entry(fd, name, st)
		if got := fmt.Sprintf("%c %d:%d %v", e.Type, e.UID, e.GID, e.Xattrs); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
}
