package local

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ocibuild/ocibuild/layer"
	"golang.org/x/sys/unix"
)

func TestSpecialFiles(t *testing.T) {
	dir := plant(t, map[string]string{"x": ""})
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	sock, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Skip("no sockets here: ", err)
	}
	defer sock.Close()
	var notes []string
	l := open(t, dir, nil, nil)
	l.Note = func(s string) { notes = append(notes, s) }
	if diff := cmp.Diff([]string{"pipe", "x"}, walk(t, l, ".")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if len(notes) != 1 || !strings.HasPrefix(notes[0], "sock was left out") {
		t.Errorf("notes %q", notes)
	}
	if e, err := l.Lookup(t.Context(), "pipe"); err != nil || e.Type != layer.Fifo {
		t.Errorf("pipe = %+v, %v", e, err)
	}
}

func TestDoesNotWaitForFifos(t *testing.T) {
	dir := plant(t, map[string]string{"x": ""})
	l := open(t, dir, nil, nil)
	e, err := l.Lookup(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "x")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "y.dockerignore"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() {
		_, err := l.Open(t.Context(), e)
		done <- err
		_, _, err = ReadIgnore(dir, filepath.Join(dir, "y"))
		done <- err
	}()
	for range 2 {
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), "regular file") {
				t.Errorf("reading a fifo: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("waits for the other end of a fifo")
		}
	}
}

// They may tell what is nobody's business: a browser notes from where a file was
// downloaded, with the tokens of the address.
func TestB2AttributesOfTheContextAreNotRead(t *testing.T) {
	dir := plant(t, map[string]string{"x": "x", "d/": ""})
	for _, name := range []string{"x", "d"} {
		if err := unix.Setxattr(filepath.Join(dir, name), "user.xdg.origin.url", []byte("https://intranet/?token=abc"), 0); err != nil {
			t.Skip("no extended attributes here: ", err)
		}
	}
	entries, err := open(t, dir, nil, nil).ReadDir(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Xattrs != nil {
			t.Errorf("%s has the attributes %v", e.Name, e.Xattrs)
		}
	}
}

func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := plant(t, map[string]string{"a/b": "", "x": "x"})
	for _, name := range []string{"a", "x"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(dir, "a"), fs.FileMode(0o755))
	l := open(t, dir, []string{"x"}, nil)
	if _, err := l.ReadDir(t.Context(), "."); err != nil {
		t.Errorf("what is left out must not be touched: %v", err)
	}
	if _, err := l.ReadDir(t.Context(), "a"); err == nil || err.Error() != "a in the build context: permission denied" {
		t.Errorf("unreadable directory: %v", err)
	}
}

func TestG4FileInThePageCacheIsKnownFromOneOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := openHostRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.close()
	f, _, err := root.open("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if where := f.residency(); where == unsure {
		t.Skip("the file system does not tell what is in the page cache")
	} else if where != inMemory {
		t.Errorf("%v after the file was written", where)
	}
	if err := unix.Fsync(int(f)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if where := f.residency(); where == inMemory {
		t.Skip("the file system keeps everything in memory")
	} else if where != onDisk {
		t.Errorf("%v after the page cache let go of the file", where)
	}
}

// What is listed for reading ahead may never be copied: nothing is said of it.
func TestG4ReadingAheadSaysNothing(t *testing.T) {
	dir := plant(t, map[string]string{"a": "a", "z/b": "b"})
	sock, err := net.Listen("unix", filepath.Join(dir, "z", "sock"))
	if err != nil {
		t.Skip("no sockets here: ", err)
	}
	defer sock.Close()
	l := open(t, dir, nil, nil)
	var notes []string
	l.Note = func(s string) { notes = append(notes, s) }
	if _, err := l.ReadDir(t.Context(), "."); err != nil {
		t.Fatal(err)
	}
	l.warmer.cold = coldMost
	opened(t, l, "a")
	l.readers.Wait()
	if queue, _ := l.warmer.state(); len(queue) != 1 || len(notes) > 0 {
		t.Errorf("%q is read ahead, and said is %q", queue, notes)
	}
	for range 2 {
		if _, err := l.ReadDir(t.Context(), "z"); err != nil {
			t.Fatal(err)
		}
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "z/sock") {
		t.Errorf("said is %q", notes)
	}
}
