package kept

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// TestDifferencesAreThoseOfAnOverlay does the same in a kept tree and in an
// overlay, several steps on top of each other, and wants the same layers; and that
// the tree which goes on is the one that its layers say it is.
func TestDifferencesAreThoseOfAnOverlay(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	steps := 80
	if testing.Short() {
		steps = 20
	}
	for seed := range uint64(steps) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { agree(t, seed) })
	}
}

// distinct leaves of equal layers the uppermost, as the solver does.
func distinct(layers []snapshot.Layer) []snapshot.Layer {
	last := layers[len(layers)-1]
	lower := slices.DeleteFunc(layers[:len(layers)-1], func(l snapshot.Layer) bool { return l.DiffID == last.DiffID })
	return append(lower, last)
}

// mountsVar is set in the process that has mounts of its own.
const mountsVar = "KEPT_TEST_MOUNTS"

// ownMounts runs the test in a process with mounts of its own, and returns false in
// the one that has none.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: comparing with an overlay needs root")
	}
	if os.Getenv(mountsVar) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", fmt.Sprint("-test.short=", testing.Short()))
	cmd.Env = append(os.Environ(), mountsVar+"=own")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func agree(t *testing.T, seed uint64) {
	h := newHouse(t)
	overlays, err := snapshot.NewManager(h.dir, snapshot.Trusted)
	h.must(err)
	defer overlays.Close()
	base := h.layer(
		folder("d/"), folder("d/e/"), file("d/e/x", "x"), file("d/f", "f"), file("d/g", "g"), folder("empty/"),
		file("one", "1"), file("two", "2"), tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "one"},
		tar.Header{Typeflag: tar.TypeReg, Name: "cap", Linkname: "c", PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		}},
	)
	keptLayers, overlayLayers := []snapshot.Layer{base}, []snapshot.Layer{base}
	r := rand.New(rand.NewPCG(seed, 0))
	var said []string
	for step := range 3 {
		ops := randomOps(r, step == 2)
		said = append(said, "step:")
		for _, op := range ops {
			said = append(said, strings.Join(op, " "))
		}
		s := h.begin(keptLayers...)
		perform(t, s.Root(), ops)
		l, got := h.commit(s)
		keptLayers = distinct(append(keptLayers, l))

		trees, err := overlays.Ensure(context.Background(), overlayLayers)
		h.must(err)
		o, err := overlays.Prepare(context.Background(), trees, snapshot.Bare)
		h.must(err)
		perform(t, o.Root(), ops)
		l, want := h.commit(o)
		overlayLayers = distinct(append(overlayLayers, l))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\nthe layers differ (-overlay +kept)\n%s", strings.Join(said, "\n"), diff)
		}
	}
	s := h.prepare(keptLayers...)
	is := h.listing(s.Root())
	h.must(s.Close())
	h.must(os.RemoveAll(h.m.trees))
	s = h.prepare(keptLayers...)
	if diff := cmp.Diff(h.listing(s.Root()), is); diff != "" {
		t.Fatalf("%s\nthe tree is not what its layers are (-unpacked +kept)\n%s", strings.Join(said, "\n"), diff)
	}
	h.must(s.Close())
}

// randomOps are commands that get into each other's way as often as not. Links
// are for the last step alone: an overlay tears those of lower layers apart. And
// what was moved stays where it is, since an overlay would take a directory that
// was moved away and back for another one.
func randomOps(r *rand.Rand, last bool) [][]string {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	name := func() string {
		return pick("d", "d/e", "d/e/x", "d/f", "d/g", "empty", "one", "two", "link", "new", "d/new", "d/e/new", "empty/new", "new/sub", "cap")
	}
	var ops [][]string
	moved := map[string]bool{}
	for range 1 + r.IntN(6) {
		switch r.IntN(14) {
		case 0, 1:
			ops = append(ops, []string{"write", name(), pick("a", "b", "longer")})
		case 2:
			ops = append(ops, []string{"append", name()})
		case 3:
			ops = append(ops, []string{"mkdir", name()})
		case 4:
			ops = append(ops, []string{"rm", name()})
		case 5, 6:
			from, to := name(), name()
			if moved[from] {
				continue
			}
			moved[to] = true
			ops = append(ops, []string{"mv", from, to})
		case 7:
			ops = append(ops, []string{"chmod", name(), pick("700", "755", "644", "4755")})
		case 8:
			ops = append(ops, []string{"chown", name(), pick("0", "7")})
		case 9:
			ops = append(ops, []string{"touch", name(), pick("1000000000", "1600000000")})
		case 10:
			ops = append(ops, []string{"symlink", name(), pick("one", "d")})
		case 11:
			ops = append(ops, []string{"again", name()})
		case 12:
			ops = append(ops, []string{"socket", name()})
		case 13:
			if last {
				ops = append(ops, []string{"ln", name(), name()})
			}
		}
	}
	return ops
}

// perform does what can be done of it: both trees refuse the same.
func perform(t *testing.T, root string, ops [][]string) {
	t.Helper()
	for _, op := range ops {
		p := filepath.Join(root, op[1])
		_ = map[string]func() error{ // refused in both, or in none
			"write":   func() error { return os.WriteFile(p, []byte(op[2]), 0o644) },
			"append":  func() error { return appendTo(p) },
			"mkdir":   func() error { return os.Mkdir(p, 0o750) },
			"rm":      func() error { return os.RemoveAll(p) },
			"mv":      func() error { return exec.Command("mv", "-T", p, filepath.Join(root, op[2])).Run() },
			"chmod":   func() error { return exec.Command("chmod", op[2], p).Run() },
			"chown":   func() error { return exec.Command("chown", "-h", op[2], p).Run() },
			"touch":   func() error { return exec.Command("touch", "-hcd", "@"+op[2], p).Run() },
			"symlink": func() error { return os.Symlink(op[2], p) },
			"again":   func() error { return again(p) },
			"ln":      func() error { return os.Link(p, filepath.Join(root, op[2])) },
			"socket":  func() error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) },
		}[op[0]]()
	}
}

func appendTo(p string) error {
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("+")
	return errors.Join(err, f.Close())
}

// again puts an equal file in place of one.
func again(p string) error {
	if err := exec.Command("cp", "-a", p, p+".again").Run(); err != nil {
		return err
	}
	if err := os.RemoveAll(p); err != nil {
		return err
	}
	return exec.Command("mv", "-T", p+".again", p).Run()
}

// listing describes a whole tree, with all links.
func (h *house) listing(root string) []string {
	h.t.Helper()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	h.must(err)
	defer unix.Close(fd)
	firsts := map[uint64]string{}
	var lines []string
	h.must(filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, p)
		var st unix.Stat_t
		if err := errors.Join(err, unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
			return err
		}
		e, err := tree.User.Describe(fd, name, &st)
		if err != nil {
			return err
		}
		e.Name = name
		text := line(e) + fmt.Sprintf(" %s", time.Unix(0, int64(st.Mtim.Nsec)))
		if e.Type == layer.Regular {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if firsts[st.Ino] == "" {
				firsts[st.Ino] = name
			}
			text += fmt.Sprintf(" %q links=%d %s", data, st.Nlink, firsts[st.Ino])
		}
		lines = append(lines, text)
		return nil
	}))
	return lines
}
