package examples

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// treeFile is all that can be asked about a file.
type treeFile struct {
	mode     uint32 // type and all twelve bits
	uid, gid uint32
	size     int64 // of regular files
	digest   [sha256.Size]byte
	link     string // of a symbolic link
	first    string // the first name of the same file
	device   uint64
	mtime    unix.Timespec
	xattrs   string
}

// readTree describes everything in root, but not root itself: an image does not say what it is like.
func readTree(t *testing.T, root string) map[string]treeFile {
	t.Helper()
	files, inodes := map[string]treeFile{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		name := strings.TrimPrefix(p, root+"/")
		f, inode, err := readFile(p)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		// WalkDir is in lexical order, so this is the same name for all who read.
		if f.first = cmp.Or(inodes[inode], name); f.mode&unix.S_IFMT != unix.S_IFDIR {
			inodes[inode] = f.first
		}
		files[name] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readFile(p string) (f treeFile, inode uint64, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return f, 0, err
	}
	f = treeFile{mode: st.Mode, uid: st.Uid, gid: st.Gid, mtime: st.Mtim}
	if f.xattrs, err = readXattrs(p); err != nil {
		return f, 0, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.size = st.Size
		f.digest, err = sumFile(p)
	case unix.S_IFLNK:
		f.link, err = os.Readlink(p)
	case unix.S_IFCHR, unix.S_IFBLK:
		f.device = st.Rdev
	}
	return f, st.Ino, err
}

func sumFile(p string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(p)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// readXattrs lists the extended attributes, but for those that make an overlay.
func readXattrs(p string) (string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, names)
	if err != nil {
		return "", err
	}
	var out []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, fmt.Sprintf("%s=%q", name, value[:n]))
	}
	slices.Sort(out)
	return strings.Join(out, " "), nil
}

// sameTree tells every file in which two readers differ.
func sameTree(t *testing.T, who string, got map[string]treeFile, other string, want map[string]treeFile) {
	t.Helper()
	for name, w := range want {
		switch g, ok := got[name]; {
		case !ok:
			t.Errorf("%q: %s has it not, %s has", name, who, other)
		case g != w:
			t.Errorf("%q:\n%-10s %+v\n%-10s %+v", name, who, g, other, w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%q: %s has it, %s has not", name, who, other)
		}
	}
}
