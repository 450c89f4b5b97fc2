package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// TestLaidLayersShowWhatAViewShows lays layers of random entries over each other
// and compares the directory with a View of them.
func TestLaidLayersShowWhatAViewShows(t *testing.T) {
	needRoot(t)
	stacks := uint64(600)
	if testing.Short() {
		stacks = 150
	}
	for seed := range stacks {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { layAndAgree(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func layAndAgree(t *testing.T, r *rand.Rand) {
	t.Helper()
	onto := plainDir(t)
	var layers []*layer.Layer
	said := ""
	for range 1 + r.IntN(4) {
		headers := randomLayer(r)
		said += "layer:\n"
		for _, h := range headers {
			said += fmt.Sprintf("  %c %s -> %s %o %d\n", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid)
		}
		data, err := tarBytes(headers)
		if err != nil {
			t.Fatal(err)
		}
		toc, diffID, err := layer.Scan(t.Context(), bytes.NewReader(data), layer.ScanOptions{})
		if err != nil {
			return // TestViewShowsWhatIsUnpacked asks whether Apply says the same
		}
		if err := lay(t, data, onto); err != nil {
			if strings.Contains(err.Error(), "hard link to") {
				return // what lies below decides, and a later entry may hide the link from a view
			}
			t.Fatalf("%s\n%v", said, err)
		}
		layers = append(layers, layer.New(diffID, rawFaces{toc: toc, raw: bytes.NewReader(data)}))
		var seen []string
		if err := viewListing(t.Context(), layer.NewView(layers), ".", &seen); err != nil {
			t.Fatalf("%s\nview: %v", said, err)
		}
		if diff := cmp.Diff(seen, plainListing(t, onto)); diff != "" {
			t.Fatalf("%s\na view and the directory differ (-view +directory):\n%s", said, diff)
		}
	}
}

// lay unpacks a layer beside the tree onto, and lays it over that.
func lay(t *testing.T, data []byte, onto string) error {
	t.Helper()
	dir := filepath.Join(filepath.Dir(onto), "layer")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var hidden []Hidden
	o := ApplyOptions{
		Form: User, Hide: func(h Hidden) { hidden = append(hidden, h) },
		Lower: func(context.Context) ([]string, error) { return []string{onto}, nil },
	}
	if err := Apply(t.Context(), bytes.NewReader(data), dir, o); err != nil {
		return err
	}
	return Lay(dir, onto, hidden, User)
}

// plainDir is an empty tree with the root that a View of nothing shows.
func plainDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(fastDir(t), "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.UtimesNano(dir, make([]unix.Timespec, 2)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func plainListing(t *testing.T, root string) []string {
	t.Helper()
	fd, err := openDir(unix.AT_FDCWD, root)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var lines []string
	err = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		name, rerr := filepath.Rel(root, p)
		st, serr := statAt(fd, name)
		if err := errors.Join(err, rerr, serr); err != nil {
			return err
		}
		e, err := User.entry(fd, name, st)
		if err != nil {
			return err
		}
		content := ""
		if e.Type == layer.Regular {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = string(data)
		}
		e.Name = name
		lines = append(lines, line(e, content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestLayHidesInDeepDirectories(t *testing.T) {
	needRoot(t)
	onto := plainDir(t)
	deep := strings.Repeat(strings.Repeat("d", 200)+"/", 20) // more than one path can name
	for _, headers := range [][]tar.Header{{file(deep+"a", "1"), file(deep+"b", "1")}, {file(deep+".wh.a", "")}} {
		data, err := tarBytes(headers)
		if err != nil {
			t.Fatal(err)
		}
		if err := lay(t, data, onto); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := openDir(unix.AT_FDCWD, onto)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	at, err := OpenDir(fd, strings.TrimSuffix(deep, "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	if _, err := statAt(at, "a"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("what the layer hides is there: %v", err)
	}
	if _, err := statAt(at, "b"); err != nil {
		t.Error(err)
	}
}

// A directory that a symbolic link has taken the place of has no times any more,
// and not those of what the link leads to.
func TestTimesOfAReplacedDirectory(t *testing.T) {
	needRoot(t)
	onto := plainDir(t)
	data, err := tarBytes([]tar.Header{file("b/a/f", ""), symlink("b", "."), folder("a", 0o755), file("b/x", "")})
	if err != nil {
		t.Fatal(err)
	}
	if err := lay(t, data, onto); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(onto, "a"))
	if err != nil || !st.ModTime().Equal(testTime) {
		t.Errorf("%v, %v, want %v", st.ModTime(), err, testTime)
	}
}
