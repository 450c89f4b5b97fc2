package kept

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// source makes a file or directory that can be put into a tree.
func (h *house) source(content string) string {
	h.t.Helper()
	path := h.m.Temp().Name("source")
	if content == "" {
		h.must(os.Mkdir(path, 0o700))
	} else {
		h.write(path, content)
	}
	return path
}

func TestWhatIsPutThereIsInNoLayer(t *testing.T) {
	h := newHouse(t)
	base := h.layer(
		folder("etc/"), file("etc/resolv.conf", "image's"), folder("dev/"), file("dev/odd", ""), folder("deep/"),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "way", Linkname: "/deep"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "dangling", Linkname: "run/missing"},
	)
	s := h.begin(base)
	cache := h.source("")
	for _, p := range []Put{
		{Source: h.source("ours"), Target: "/etc/resolv.conf"},
		{Source: h.source(""), Target: "/dev", Plain: true},
		{Source: h.source(""), Target: "/dev/shm"},
		{Source: h.source("secret"), Target: "/way/sub/secret"},
		{Source: h.source("linked"), Target: "/dangling"},
		{Source: cache, Target: "/var/cache/x", Borrowed: true},
	} {
		h.must(s.Put(p))
	}
	root := s.Root()
	if got := h.read(root + "/etc/resolv.conf"); got != "ours" {
		t.Errorf("resolv.conf is %q", got)
	}
	if got := h.read(root + "/deep/sub/secret"); got != "secret" {
		t.Errorf("secret is %q", got)
	}
	if got := h.read(root + "/run/missing"); got != "linked" {
		t.Errorf("what the dangling link leads to is %q", got)
	}
	h.write(root+"/dev/shm/junk", "")
	h.write(root+"/var/cache/x/kept", "for the next time")
	h.write(root+"/etc/resolv.conf", "the step's")
	h.must(s.Restore())
	if _, lines := h.commit(s); lines != nil {
		t.Errorf("the layer has %q", lines)
	}
	if got := h.read(cache + "/kept"); got != "for the next time" {
		t.Errorf("the cache has %q", got)
	}
	s = h.prepare(base)
	if got := h.read(s.Root() + "/etc/resolv.conf"); got != "image's" {
		t.Errorf("resolv.conf is %q again", got)
	}
	h.must(s.Close())
}

// What a step does around the things that were put there is its own.
func TestChangesAroundWhatWasPut(t *testing.T) {
	h := newHouse(t)
	s := h.begin(h.layer(folder("a/"), folder("a/b/"), file("a/b/f", "below"), folder("gone/"), file("gone/f", "x")))
	cache := h.source("")
	h.must(s.Put(Put{Source: cache, Target: "/a/b", Borrowed: true}))
	h.must(s.Put(Put{Source: h.source("y"), Target: "/gone/f"}))
	h.must(s.Put(Put{Source: h.source(""), Target: "/made/for/it"}))
	h.must(s.Put(Put{Source: h.source("z"), Target: "/replaced"}))
	root := s.Root()
	h.must(os.Rename(root+"/a", root+"/moved")) // with the cache in it
	h.must(os.RemoveAll(root + "/gone"))
	h.write(root+"/made/for/all", "")
	h.must(os.Remove(root + "/replaced"))
	h.must(os.Mkdir(root+"/replaced", 0o755))
	h.write(root+"/moved/b/kept", "1")
	h.must(s.Restore())
	_, lines := h.commit(s)
	want := []string{
		"a gone", "gone gone",
		"made 5 0755 0:0 now 0,0    opaque=false", "made/for 5 0755 0:0 now 0,0    opaque=false", "made/for/all 0 0644 0:0 now 0,0  sha256:e3b0c44  opaque=false",
		"moved 5 0755 0:0 1600000000 0,0    opaque=false", "moved/b 5 0755 0:0 1600000000 0,0    opaque=false",
		"moved/b/f 0 0755 0:0 1600000000 0,0  sha256:8ada24b  opaque=false",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := h.read(cache + "/kept"); got != "1" {
		t.Errorf("the cache has %q", got)
	}
}

func TestRefusedTargets(t *testing.T) {
	h := newHouse(t)
	s := h.begin(h.layer(folder("d/"), file("f", ""), tar.Header{Typeflag: tar.TypeSymlink, Name: "proc", Linkname: "d"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "up", Linkname: "../../.."}, tar.Header{Typeflag: tar.TypeSymlink, Name: "loop", Linkname: "loop"}))
	no := errors.New("no")
	for name, tt := range map[string]struct {
		put  Put
		want error
	}{
		"a file on a directory": {Put{Source: h.source("x"), Target: "/d"}, ErrPlace},
		"a directory on a file": {Put{Source: h.source(""), Target: "/f"}, ErrPlace},
		"below a file":          {Put{Source: h.source("x"), Target: "/f/g"}, unix.ENOTDIR},
		"the root":              {Put{Source: h.source(""), Target: "/up"}, nil},
		"a link":                {Put{Source: h.source(""), Target: "/proc", Plain: true}, ErrPlace},
		"a loop":                {Put{Source: h.source("x"), Target: "/loop"}, unix.ELOOP},
		"refused":               {Put{Source: h.source("x"), Target: "/d/x", Check: func(string) error { return no }}, no},
	} {
		if err := s.Put(tt.put); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	h.must(s.Restore())
	if _, lines := h.commit(s); lines != nil {
		t.Errorf("the layer has %q", lines)
	}
}

func TestTheWorkingDirectoryIsTheSteps(t *testing.T) {
	h := newHouse(t)
	s := h.begin(h.layer(folder("a/")))
	h.must(s.MakeDir("/a/b/../c/d", 7, 8))
	_, lines := h.commit(s)
	want := []string{
		"a 5 0755 0:0 now 0,0    opaque=false", "a/b 5 0755 7:8 now 0,0    opaque=false",
		"a/c 5 0755 7:8 now 0,0    opaque=false", "a/c/d 5 0755 7:8 now 0,0    opaque=false",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A cache of a step whose process died is where it was, with what the step wrote;
// nothing of the step is left.
func TestWhatADeadProcessBorrowedIsReturned(t *testing.T) {
	h := newHouse(t)
	base := h.layer(folder("d/"), file("d/f", "f"))
	cache := filepath.Join(h.dir.MountsPath(), "cache")
	other := filepath.Join(h.dir.MountsPath(), "other")
	for _, c := range []string{cache, other} {
		h.must(os.Mkdir(c, 0o700))
	}
	s := h.begin(base)
	h.must(s.Put(Put{Source: cache, Target: "/d", Borrowed: true}))
	h.must(s.Put(Put{Source: other, Target: "/deep/down", Borrowed: true}))
	h.must(s.Put(Put{Source: h.source("secret"), Target: "/secret"}))
	h.write(s.Root()+"/d/new", "1")
	h.write(s.Root()+"/deep/down/new", "2")
	h.must(os.Mkdir(other, 0o700)) // somebody has made it anew
	h.must(h.m.Temp().Lock.Close())
	h.m = h.manager()
	if got := h.read(cache + "/new"); got != "1" {
		t.Errorf("the cache has %q", got)
	}
	if _, err := os.Lstat(other + "/new"); err == nil {
		t.Error("a cache that was made meanwhile is replaced")
	}
	if left, _ := os.ReadDir(filepath.Join(h.dir.Path(), "tmp")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if h.m.Has([]snapshot.Layer{base})[0] {
		t.Error("the tree that the step worked in is used again")
	}
}

func TestLentParts(t *testing.T) {
	h := newHouse(t)
	from := h.layer(folder("d/"), file("d/f", "f"), file("other", ""))
	base := h.layer(file("x", ""))
	for name, tt := range map[string]struct {
		change func(at string)
		waits  bool
	}{
		"unchanged": {func(string) {}, true},
		"written":   {func(at string) { h.write(at+"/f", "g") }, false},
		"added":     {func(at string) { h.write(at+"/g", "g") }, false},
		"removed":   {func(at string) { h.must(os.RemoveAll(at)) }, false},
		"mode":      {func(at string) { h.must(os.Chmod(at, 0o700)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			lender := h.prepare(from)
			part, err := lender.Lend(context.Background(), "/d")
			h.must(err)
			s := h.begin(base)
			h.must(s.Put(Put{Source: part, Target: "/mnt", Borrowed: true}))
			if got := h.read(s.Root() + "/mnt/f"); got != "f" {
				t.Errorf("it shows %q", got)
			}
			tt.change(s.Root() + "/mnt")
			h.must(s.Restore())
			h.must(lender.Close())
			if _, lines := h.commit(s); lines != nil {
				t.Errorf("the layer has %q", lines)
			}
			if got := h.m.Has([]snapshot.Layer{from})[0]; got != tt.waits {
				t.Errorf("waits: %t, want %t", got, tt.waits)
			}
			again := h.prepare(from)
			if got := h.read(again.Root() + "/d/f"); got != "f" {
				t.Errorf("afterwards it is %q", got)
			}
			h.must(again.Close())
		})
	}
}
