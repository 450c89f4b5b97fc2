package worker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/confined"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// confinedVar is set where these tests run with the rights of a Docker container.
const confinedVar = "OCIBUILD_TEST_CONFINED"

// TestAllOfThisInADockerContainer runs the tests of this package once more, as
// root has it in a container, where rung chroot is what is left.
func TestAllOfThisInADockerContainer(t *testing.T) {
	if os.Getenv(isolationVar) != "" {
		t.Skip("SKIPPED: a rung is chosen already")
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to have rights that can be given up")
	}
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	const ownNamespaces = "^TestRootWithOneID$|^TestEmulatorsOfTheMachine$" // which these tests make
	cmd := confined.Command("/proc/self/exe", []string{"-test.v", "-test.short", "-test.timeout=20m", "-test.skip=" + ownNamespaces})
	cmd.Env = append(os.Environ(), isolationVar+"="+IsolationChroot, confinedVar+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, skipped := range regexp.MustCompile(`(?m)^.*SKIPPED.*$`).FindAllString(string(out), -1) {
		t.Log(strings.TrimSpace(skipped))
	}
	if !strings.Contains(string(out), "--- PASS: TestStepsOnTopOfEachOther") {
		t.Errorf("steps are not run there:\n%s", out)
	}
}

func needConfined(t *testing.T) {
	t.Helper()
	if os.Getenv(confinedVar) == "" {
		t.Skip("SKIPPED: TestAllOfThisInADockerContainer runs it")
	}
}

func TestChrootIsTakenWhereNothingElseIsLeft(t *testing.T) {
	needConfined(t)
	store := t.TempDir()
	c, err := Start(context.Background(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if c.Isolation != IsolationChroot {
		t.Errorf("rung %s", c.Isolation)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for _, isolation := range []string{IsolationRoot, IsolationUserns, IsolationUsernsSingle} {
		if _, err := Start(context.Background(), Options{Store: store, Isolation: isolation}); err == nil || !strings.Contains(err.Error(), "isolation "+isolation) {
			t.Errorf("%s: %v", isolation, err)
		}
	}
}

// newChrootHouse is a house on rung chroot, whatever others there are.
func newChrootHouse(t *testing.T) *house {
	t.Helper()
	h := newHouseOn(t, IsolationChroot)
	if h == nil {
		t.Skip("SKIPPED: rung chroot cannot be had here")
	}
	return h
}

func TestChrootFurniture(t *testing.T) {
	h := newChrootHouse(t)
	base := h.layer(
		tar.Header{Typeflag: tar.TypeDir, Name: "dev/"}, tar.Header{Typeflag: tar.TypeReg, Name: "dev/null", Linkname: "image's"},
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/resolv.conf", Linkname: "../run/resolved"},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/hosts", Linkname: "image's"},
	)
	r := h.shell(`ls -l /dev | busybox tail -n +2 | busybox awk '{print $1, $NF}'; cat /etc/resolv.conf /etc/hosts; test -d /sys/kernel && echo sys
		echo gone >/dev/null; echo x >/dev/shm/x; echo x >/dev/junk; echo more >>/etc/hosts; echo x >/proc/x
		echo stdout >/dev/stdout`, base)
	r.Spec.ResolvConf, r.Spec.Hosts = []byte("resolver\n"), []byte("hosts\n")
	e, out := h.must(r)
	want := `lrwxrwxrwx /proc/self/fd
crw-rw-rw- full
drwxrwxrwt mqueue
crw-rw-rw- null
drwxr-xr-x pts
crw-rw-rw- random
drwxrwxrwt shm
lrwxrwxrwx /proc/self/fd/2
lrwxrwxrwx /proc/self/fd/0
lrwxrwxrwx /proc/self/fd/1
crw-rw-rw- tty
crw-rw-rw- urandom
crw-rw-rw- zero
resolver
hosts
sys
stdout
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := h.commit(e); got.DiffID != h.emptyID() {
		t.Errorf("the layer has %q", h.entries(got))
	}
}

func TestChrootRefuses(t *testing.T) {
	h := newChrootHouse(t)
	bad := h.layer(tar.Header{Typeflag: tar.TypeSymlink, Name: "proc", Linkname: "etc"})
	link := h.layer(tar.Header{Typeflag: tar.TypeSymlink, Name: "way", Linkname: "/dev"})
	for want, r := range map[string]*Request{
		"/proc of the image must be a directory": h.shell("true", bad),
		"where nothing may be mounted":           with(h.shell("true", link), Mount{Type: MountTmpfs, Target: "/way"}),
		"at one place only": with(h.shell("true"), Mount{Type: MountCache, Target: "/a", CacheID: "c"},
			Mount{Type: MountCache, Target: "/b", CacheID: "c"}),
		"needs a network namespace": func() *Request { r := h.shell("true"); r.Spec.Network = sandbox.NetworkNone; return r }(),
	} {
		_, out, err := h.run(context.Background(), r)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %q, want %q", err, out, want)
		}
	}
}

func with(r *Request, mounts ...Mount) *Request {
	r.Mounts = append(r.Mounts, mounts...)
	return r
}

func TestChrootSaysOnceWhatItDoesNotHave(t *testing.T) {
	h := newChrootHouse(t)
	for _, want := range []string{chrootHint, ""} {
		e, _, err := h.run(context.Background(), h.shell("cat /sys/none 2>&-"))
		if err != nil || e.ExitCode == 0 || e.Hint != want {
			t.Errorf("%+v, %v, want %q", e, err, want)
		}
	}
}

// A tree that somebody else has taken is made anew from blobs that were not asked
// for at first.
func TestChrootAsksForBlobs(t *testing.T) {
	h := newChrootHouse(t)
	without := func(layers []snapshot.Layer) []snapshot.Layer {
		var out []snapshot.Layer
		for _, l := range layers {
			out = append(out, snapshot.Layer{DiffID: l.DiffID})
		}
		return out
	}
	e, _ := h.must(h.shell("echo one >/one"))
	layers := []snapshot.Layer{h.base, h.commit(e)}
	r := h.shell("cat /one; ls /mnt")
	r.Layers = without(layers)
	r.Mounts = []Mount{{Type: MountBind, Target: "/mnt", Layers: without(layers)}} // there is one such tree
	_, _, err := h.run(context.Background(), r)
	missing, ok := errors.AsType[*MissingError](err)
	if !ok || len(missing.DiffIDs) == 0 {
		t.Fatalf("got %v, want that blobs are missing", err)
	}
	r.Layers, r.Mounts[0].Layers = layers, layers
	if _, out := h.must(r); out != "one\nbin\netc\none\n" {
		t.Errorf("%q", out)
	}
}

// A bind mount does not cost a tree, unless the step writes to it.
func TestChrootLendsTrees(t *testing.T) {
	h := newChrootHouse(t)
	other := h.layer(tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Linkname: "f"})
	for script, stays := range map[string]bool{"cat /mnt/f": true, "cat /mnt/f; echo x >/mnt/g": false} {
		r := with(h.shell(script), Mount{Type: MountBind, Target: "/mnt", Layers: []snapshot.Layer{other}, Selector: "/d"})
		e, out := h.must(r)
		if err := e.Discard(); err != nil {
			t.Error(err)
		}
		if out != "f" {
			t.Errorf("%q", out)
		}
		has, err := h.client.HasTrees(context.Background(), []digest.Digest{other.DiffID})
		if err != nil || has[0] != stays {
			t.Errorf("%s: stays %v, %v, want %t", script, has, err, stays)
		}
	}
}

// Nothing of what a step borrows or is given may be lost or stay, whenever it
// ends and however.
func TestChrootRemovedCache(t *testing.T) {
	h := newChrootHouse(t)
	m := Mount{Type: MountCache, Target: "/c", CacheID: "c"}
	for i, script := range []string{"echo 1 >/c/f", "cat /c/f; rm -r /c", "ls /c; echo 2 >/c/f", "cat /c/f; busybox mv /c /moved", "ls /c"} {
		e, out := h.must(with(h.shell(script), m))
		if want := []string{"", "1\n", "", "2\n", ""}[i]; out != want {
			t.Errorf("%s: %q, want %q", script, out, want)
		}
		if err := e.Discard(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir.MountsPath(), "*")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestChrootUserAndWorkingDirectory(t *testing.T) {
	h := newChrootHouse(t)
	base := h.layer(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Linkname: "app:x:1234:1235::/home/app:/bin/sh\n"})
	r := h.shell("id; pwd; touch x; echo $HOME", base)
	r.Spec.User, r.Spec.Cwd = "app", "/new/deep"
	e, out := h.must(r)
	if want := "uid=1234(app) gid=1235 groups=1235\n/new/deep\n/home/app\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	want := []string{"new 0755 1234:1235 5 0,0 ", "new/deep 0755 1234:1235 5 0,0 ", "new/deep/x 0644 1234:1235 0 0,0 "}
	if diff := cmp.Diff(want, h.entries(h.commit(e))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	r = h.shell("true", base)
	r.Spec.User = "nobody-knows"
	if _, _, err := h.run(context.Background(), r); err == nil || !strings.Contains(err.Error(), "nobody-knows") {
		t.Errorf("%v", err)
	}
}

// What a step leaves running is dead before its changes are read.
func TestChrootBackgroundProcesses(t *testing.T) {
	h := newChrootHouse(t)
	e, _ := h.must(h.shell("busybox setsid sh -c 'i=0; while true; do i=$((i+1)); echo $i >>/count; done' >&- 2>&- & sleep 0.3"))
	one := h.commit(e)
	_, first := h.must(h.shell("busybox wc -c /count", one))
	_, second := h.must(h.shell("sleep 0.2; busybox wc -c /count", one))
	if first != second || first == "" {
		t.Errorf("it counts on: %q, %q", first, second)
	}
}

func TestNoneRunsNothing(t *testing.T) {
	_, err := Start(context.Background(), Options{Store: t.TempDir(), Isolation: IsolationNone})
	if err == nil || !strings.Contains(err.Error(), "no commands are run") {
		t.Errorf("%v", err)
	}
}

// Without the capability the rung is refused, with what would help.
func TestChrootNeedsItsCapability(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to have rights that can be given up")
	}
	if os.Getenv(confinedVar) != "" {
		t.Skip("SKIPPED: there are no rights left to be given up")
	}
	if store := os.Getenv("WORKER_TEST_LACKING"); store != "" {
		_, err := Start(context.Background(), Options{Store: store, Isolation: IsolationChroot})
		fmt.Println("error:", err)
		return
	}
	for lacking, want := range map[string]string{
		"CAP_SYS_CHROOT": "CAP_SYS_CHROOT is missing; in a Kubernetes pod, add SYS_CHROOT",
		"CAP_MKNOD":      "make /dev/null: operation not permitted; it takes CAP_MKNOD",
	} {
		cmd := confined.Command("/proc/self/exe", []string{"-test.v", "-test.run=^" + t.Name() + "$"}, lacking)
		cmd.Env = append(os.Environ(), "WORKER_TEST_LACKING="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("without %s: %v\n%s\nwant %q", lacking, err, out, want)
		}
	}
}

// Caches may lie on a volume of their own.
func TestChrootCacheOnAnotherFileSystem(t *testing.T) {
	h := newChrootHouse(t)
	elsewhere, err := os.MkdirTemp("/dev/shm", "caches-*")
	if err != nil {
		t.Skipf("SKIPPED: needs another file system: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(elsewhere) })
	if err := os.Remove(h.dir.MountsPath()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, h.dir.MountsPath()); err != nil {
		t.Fatal(err)
	}
	m := Mount{Type: MountCache, Target: "/c", CacheID: "c", UID: 7, Mode: 0o750}
	for i, script := range []string{"stat -c '%a %u' /c; echo 1 >/c/f", "stat -c '%a %u' /c; cat /c/f; rm /c/f; echo 2 >/c/g", "ls /c"} {
		e, out := h.must(with(h.shell(script), m))
		if want := []string{"750 7\n", "750 7\n1\n", "g\n"}[i]; out != want {
			t.Errorf("%s: %q, want %q", script, out, want)
		}
		if got := h.commit(e); got.DiffID != h.emptyID() {
			t.Errorf("the layer has %q", h.entries(got))
		}
	}
}
