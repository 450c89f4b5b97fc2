package layer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asKernel compares [Resolve] with what Linux does in a real directory that
// holds the same as the view, for a process whose root it is.
func asKernel(t *testing.T, v *View, name string, last bool) {
	t.Helper()
	k := kernelTree{view: v, dir: t.TempDir()}
	if !k.plant(t, ".") {
		return // a view that no file system can hold
	}
	if name = strings.TrimRight(name, "/"); name == "" || strings.ContainsRune(name, 0) {
		return
	}
	if !last && (name == "." || strings.HasSuffix(name, "/.")) {
		return // what that means of a link is nobody's promise
	}
	want, err := k.open(t, name, last)
	got, gotErr := Resolve(t.Context(), v, name, last)
	if err == nil {
		if gotErr != nil || got != want {
			t.Errorf("%q leads to %q, %v; Linux says %q", name, got, gotErr, want)
		}
		return
	}
	// Ours goes on where nothing is, and where more links are than Linux follows.
	if gotErr != nil || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG) || k.climbs || strings.Contains(name, "..") {
		return
	}
	if _, there := v.Lookup(t.Context(), got); there == nil {
		t.Errorf("%q leads to %q, which is there; Linux says %v", name, got, err)
	}
}

// kernelTree is the content of a view in a real directory.
type kernelTree struct {
	view   *View
	dir    string
	climbs bool // a link has a target in which more counts than which names are there
}

func (k *kernelTree) plant(t *testing.T, name string) bool {
	t.Helper()
	entries, err := k.view.ReadDir(t.Context(), name)
	if err != nil {
		return false
	}
	for _, e := range entries {
		to := filepath.Join(k.dir, e.Name)
		switch e.Type {
		case Directory:
			if os.Mkdir(to, 0o700) != nil || !k.plant(t, e.Name) {
				return false
			}
		case Symlink:
			k.climbs = k.climbs || strings.Contains(e.Linkname, "..") || strings.HasSuffix(e.Linkname, "/") || strings.HasSuffix(e.Linkname, "/.")
			err = os.Symlink(e.Linkname, to)
		default:
			err = os.WriteFile(to, nil, 0o600)
		}
		if err != nil {
			return false
		}
	}
	return true
}

// open returns where in the tree name leads to.
func (k *kernelTree) open(t *testing.T, name string, last bool) (string, error) {
	t.Helper()
	root, err := unix.Open(k.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if !last {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat2(root, name, &how)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skip("SKIPPED: needs openat2(2)")
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	at, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	top, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(root))
	if err != nil {
		t.Fatal(err)
	}
	if at == top {
		return ".", nil
	}
	inside, ok := strings.CutPrefix(at, top+"/")
	if !ok || !fs.ValidPath(inside) && !strings.Contains(inside, "\xff") {
		t.Fatalf("%q leads to %q, out of %q", name, at, top)
	}
	return inside, nil
}
