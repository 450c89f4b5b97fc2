package tree

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a directory of a layer hands on to new files does not reach the files that
// are unpacked into it, whatever the order of the tar.
func TestB4DefaultACLIsNotInherited(t *testing.T) {
	needRoot(t)
	model := t.TempDir()
	if err := exec.Command("setfacl", "-d", "-m", "u:1234:rwx,g:55:rwx", model).Run(); err != nil {
		t.Skipf("SKIPPED: access control lists cannot be set here: %v", err)
	}
	acl := make([]byte, 1024)
	n, err := unix.Getxattr(model, defaultACL, acl)
	if err != nil {
		t.Fatal(err)
	}
	listed := func(name string) tar.Header {
		h := folder(name, 0o755)
		h.PAXRecords = map[string]string{"SCHILY.xattr." + defaultACL: string(acl[:n])}
		return h
	}
	secret := file("d/secret", "s")
	secret.Mode = 0o640
	dir := t.TempDir()
	content := tarOf(t, listed("."), listed("d"), secret, folder("d/sub", 0o700), symlink("d/link", "secret"),
		listed("later"), file("later/f", "x"), folder("later", 0o755), file("implied/by", "x"))
	if err := Apply(t.Context(), content, dir, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		".": 0o755, "d": 0o755, "d/secret": 0o640, "d/sub": 0o700, "later": 0o755, "later/f": 0o644, "implied": 0o755, "implied/by": 0o644,
	} {
		path := filepath.Join(dir, name)
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, fi.Mode().Perm(), want)
		}
		_, access := unix.Getxattr(path, "system.posix_acl_access", nil)
		_, byDefault := unix.Getxattr(path, defaultACL, nil)
		if listed := name == "." || name == "d"; access == nil || (byDefault == nil) != listed {
			t.Errorf("%s: access list %v, default list %v", name, access, byDefault)
		}
	}
}
