package worker

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

func TestKeptMounts(t *testing.T) {
	h := newHouse(t)
	other := h.layer(
		tar.Header{Typeflag: tar.TypeReg, Name: "old", Linkname: "old"},
		tar.Header{Typeflag: tar.TypeDir, Name: "sub/"},
	)
	from := []snapshot.Layer{other}
	r := h.shell("echo root >/x; echo one >/one/x; rm /one/old; echo part >/part/x; echo empty >/empty/x; echo gone >/dropped/x")
	r.Mounts = []Mount{
		{Type: MountBind, Target: "/one", Layers: from, Keep: true},
		{Type: MountBind, Target: "/part", Layers: from, Selector: "sub", Keep: true},
		{Type: MountBind, Target: "/empty", Keep: true},
		{Type: MountBind, Target: "/dropped", Layers: from},
	}
	e, _ := h.must(r)
	kept := map[string]snapshot.Layer{"/": h.commit(e)}
	for _, target := range []string{"/one", "/part", "/empty"} {
		c, err := e.CommitMount(context.Background(), target, cache.Layer{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := c.Wait(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		kept[target] = snapshot.Layer{DiffID: l.DiffID, Blob: h.dir.BlobPath(l.Digest), MediaType: l.MediaType}
	}
	for _, target := range []string{"/dropped", "/one"} {
		if _, err := e.CommitMount(context.Background(), target, cache.Layer{}); err == nil {
			t.Errorf("%s is committed, though it is not kept or was before", target)
		}
	}
	if err := e.Discard(); err != nil { // of nothing
		t.Error(err)
	}
	look := h.shell("cd /one; ls; cat x; cd /part; ls; cat sub/x; cat /empty/x; cat /x; ls /dropped 2>/dev/null || echo none", kept["/"])
	look.Mounts = []Mount{
		{Type: MountBind, Target: "/one", Layers: append(from[:1:1], kept["/one"])},
		{Type: MountBind, Target: "/part", Layers: append(from[:1:1], kept["/part"])},
		{Type: MountBind, Target: "/empty", Layers: []snapshot.Layer{kept["/empty"]}},
	}
	_, out := h.must(look)
	if want := "sub\nx\none\nold\nsub\npart\nempty\nroot\nnone\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestDiscardedMountsLeaveNothing(t *testing.T) {
	h := newHouse(t)
	r := h.shell("echo x >/m/x")
	r.Mounts = []Mount{{Type: MountBind, Target: "/m", Keep: true}}
	e, _ := h.must(r)
	if err := e.Discard(); err != nil {
		t.Fatal(err)
	}
	trees, err := filepath.Glob(filepath.Join(h.dir.Path(), "tmp", "trees-*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range trees {
		if !strings.HasPrefix(filepath.Base(p), "ground-") {
			t.Errorf("left: %s", p)
		}
	}
}

// connect says its second argument to the socket that the first names, and
// prints the answer.
const connect = `/usr/bin/perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Peer => shift) or die "$!\n"; print $s shift, "\n"; $s->flush; print <$s>'`

// perl shows a step this machine's perl: busybox knows no unix sockets.
func (h *house) perl() []Mount {
	h.t.Helper()
	if _, err := os.Stat("/usr/bin/perl"); err != nil {
		h.t.Skipf("SKIPPED: needs perl: %v", err)
	}
	// No more than it needs: where nothing can be mounted, it is copied.
	needs, err := exec.Command("sh", "-c", `ldd /usr/bin/perl; perl -e 'print "\n", (grep {-e "$_/IO/Socket/UNIX.pm"} @INC)[0]'`).Output()
	if err != nil {
		h.t.Skipf("SKIPPED: needs perl: %v", err)
	}
	mounts := []Mount{{Type: MountHost, Source: "/usr/bin/perl", Target: "/usr/bin/perl", ReadOnly: true}}
	for _, path := range strings.Fields(string(needs)) {
		if filepath.IsAbs(path) {
			mounts = append(mounts, Mount{Type: MountHost, Source: path, Target: path, ReadOnly: true})
		}
	}
	return mounts
}

// The socket is the step's, but whoever answers is here.
func TestSocket(t *testing.T) {
	h := newHouse(t)
	r := h.shell("stat -c '%a %u %g %F' /run/agent/s; for i in 1 2; do " + connect + " /run/agent/s \"hello $i\"; done")
	r.Mounts = append(h.perl(), Mount{Type: MountSSH, Target: "/run/agent/s", UID: 5, GID: 6, Mode: 0o620, Serve: func(_ context.Context, c net.Conn) {
		data, _ := io.ReadAll(io.LimitReader(c, 8))
		_, _ = io.WriteString(c, "heard "+string(data))
	}})
	e, out := h.must(r)
	if want := "620 5 6 socket\nheard hello 1\nheard hello 2\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	if got := h.commit(e); got.DiffID != h.emptyID() {
		t.Error("the socket leaves something in the layer")
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir.Path(), "tmp", "agent-*")); left != nil {
		t.Errorf("left: %v", left)
	}
	if r.Mounts[len(r.Mounts)-1].Source != "" {
		t.Error("the caller's request was changed")
	}
}

func TestSocketOfAnotherUser(t *testing.T) {
	h := newHouse(t)
	if h.client.Isolation == IsolationUsernsSingle {
		t.Skip("SKIPPED: every user of a step has root's rights there")
	}
	r := h.shell(connect + " /s x 2>/dev/null || echo refused")
	r.Spec.User = "7"
	r.Mounts = append(h.perl(), Mount{Type: MountSSH, Target: "/s", Serve: func(context.Context, net.Conn) {}})
	if _, out := h.must(r); out != "refused\n" {
		t.Errorf("%q", out)
	}
}

func TestStepSaysWhichLimit(t *testing.T) {
	h := newHouse(t)
	r := h.shell("x=0123456789abcdef; while true; do x=$x$x; done")
	r.Spec.Limits = cgroup.Limits{Memory: 32 << 20}
	e, _, err := h.run(context.Background(), r)
	if err != nil {
		if !strings.Contains(err.Error(), "control groups: ") {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: no control groups here: %v", err)
	}
	if e.ExitCode != 137 || !strings.Contains(e.Exceeded, "out of memory") {
		t.Errorf("%+v", e)
	}
	if err := e.Discard(); err != nil {
		t.Error(err)
	}
}

// What a worker that is killed leaves behind is removed by the next one.
func TestGroupsOfADeadWorker(t *testing.T) {
	limits := cgroup.Limits{Pids: 100}
	g, err := cgroup.New(limits)
	if err != nil {
		t.Skipf("SKIPPED: no control groups here: %v", err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	name := fmt.Sprintf("ocibuild-%d-", h.client.proc.cmd.Process.Pid)
	left := func() (found []string) {
		_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), name) {
				found = append(found, path)
			}
			return nil // other groups come and go
		})
		return found
	}
	running := make(chan struct{})
	go func() {
		defer close(running)
		r := h.shell("sleep 60")
		r.Spec.Limits = limits
		_, _, _ = h.run(context.Background(), r)
	}()
	for range 200 {
		if left() != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if left() == nil {
		t.Error("the step has no group")
	}
	h.client.proc.kill()
	<-running
	if h.client, err = Start(context.Background(), Options{Store: h.dir.Path()}); err != nil {
		t.Fatal(err)
	}
	h.must(h.shell("true"))
	if l := left(); l != nil {
		t.Errorf("left: %v", l)
	}
}
