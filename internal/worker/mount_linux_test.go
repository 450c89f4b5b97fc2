package worker

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/snapshot"
)

func TestMounts(t *testing.T) {
	h := newHouse(t)
	other := h.layer(
		tar.Header{Typeflag: tar.TypeReg, Name: "f", Linkname: "whole"},
		tar.Header{Typeflag: tar.TypeDir, Name: "sub/"},
		tar.Header{Typeflag: tar.TypeReg, Name: "sub/g", Linkname: "part"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: "/sub"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "up", Linkname: "../../../../etc"},
	)
	from := []snapshot.Layer{other}
	hostFile := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(hostFile, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		mount  Mount
		script string
		want   string
		err    string
	}{
		"bind":             {mount: Mount{Type: MountBind, Layers: from, ReadOnly: true}, script: "cat /m/f; echo x 2>/dev/null >/m/f || echo no", want: "wholeno\n"},
		"bind writable":    {mount: Mount{Type: MountBind, Layers: from}, script: "echo x >/m/f; cat /m/f", want: "x\n"},
		"bind again":       {mount: Mount{Type: MountBind, Layers: from}, script: "cat /m/f", want: "whole"},
		"selector":         {mount: Mount{Type: MountBind, Layers: from, Selector: "sub"}, script: "cat /m/g", want: "part"},
		"selector is file": {mount: Mount{Type: MountBind, Layers: from, Selector: "/sub/g"}, script: "cat /m", want: "part"},
		"selector is link": {mount: Mount{Type: MountBind, Layers: from, Selector: "out"}, script: "cat /m/g", want: "part"},
		"selector climbs":  {mount: Mount{Type: MountBind, Layers: from, Selector: "up"}, err: "no such file"},
		"selector missing": {mount: Mount{Type: MountBind, Layers: from, Selector: "nix"}, err: "source nix: no such file"},
		"tmpfs":            {mount: Mount{Type: MountTmpfs, Size: 1 << 20}, script: "stat -c %a /m; ls /m", want: "1777\n"},
		"secret":           {mount: Mount{Type: MountSecret, Data: []byte("s"), UID: 4}, script: "stat -c '%a %u' /m; cat /m", want: "400 4\ns"},
		"host":             {mount: Mount{Type: MountHost, Source: hostFile}, script: "cat /m; chmod 600 /m", want: "host"},
		"host missing":     {mount: Mount{Type: MountHost, Source: "/no/such"}, err: "host path"},
		"unknown":          {mount: Mount{Type: "odd"}, err: "unknown type"},
		"cache new":        {mount: Mount{Type: MountCache, CacheID: "c", Mode: 0o700, UID: 9}, script: "stat -c '%a %u' /m; echo 1 >/m/x", want: "700 9\n"},
		"cache seeded":     {mount: Mount{Type: MountCache, CacheID: "s", Layers: from, Selector: "sub", Sharing: SharingLocked}, script: "cat /m/g", want: "part"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := h.shell(tt.script)
			tt.mount.Target = "/m"
			r.Mounts = []Mount{tt.mount}
			if h.client.Isolation == IsolationChroot { // where it cannot be kept from being written to
				tt.want = strings.TrimSuffix(tt.want, "no\n")
			}
			e, out, err := h.run(context.Background(), r)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || out != tt.want {
				t.Fatalf("%q, %v, want %q", out, err, tt.want)
			}
			if got := h.commit(e); got.DiffID != h.emptyID() {
				t.Error("a mount leaves something in the layer")
			}
		})
	}
}

// emptyID is the DiffID of a step that changes nothing.
func (h *house) emptyID() digest.Digest {
	e, _ := h.must(h.shell("true"))
	return h.commit(e).DiffID
}

func TestCacheMountSharing(t *testing.T) {
	h := newHouse(t)
	use := func(s Sharing, script string) (string, error) {
		r := h.shell(script)
		r.Mounts = []Mount{{Type: MountCache, Target: "/c", CacheID: "id", Sharing: s}}
		e, out, err := h.run(context.Background(), r)
		if err == nil {
			e.Discard()
		}
		return out, err
	}
	if _, err := use(SharingShared, "echo kept >/c/f"); err != nil {
		t.Fatal(err)
	}
	slow := func(s Sharing) (second string) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := use(s, "echo in >/c/busy; sleep 0.7; rm /c/busy"); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(300 * time.Millisecond)
		second, err := use(s, "ls /c")
		if err != nil {
			t.Error(err)
		}
		<-done
		return second
	}
	shared := "busy\nf\n"
	if h.client.Isolation == IsolationChroot {
		shared = "f\n" // steps wait for each other
	}
	for s, want := range map[Sharing]string{SharingShared: shared, SharingLocked: "f\n", SharingPrivate: ""} {
		if got := slow(s); got != want {
			t.Errorf("%s: the second step sees %q, want %q", s, got, want)
		}
	}
}

func TestRenewedCaches(t *testing.T) {
	h := newHouse(t)
	if h.client.Isolation == IsolationChroot {
		t.Skip("SKIPPED: two steps cannot have a cache at a time here")
	}
	use := func(id, seed, script string) string {
		r := h.shell(script)
		r.Mounts = []Mount{{Type: MountCache, Target: "/c", CacheID: id, Seed: seed}}
		e, out := h.must(r)
		if err := e.Discard(); err != nil {
			t.Error(err)
		}
		return out
	}
	use("a", "", "echo a >/c/f")
	use("a", "seed", "echo seeded >/c/f")
	use("b", "", "echo b >/c/f")
	running, done := make(chan struct{}), make(chan string)
	go func() {
		close(running)
		done <- use("a", "", "touch /c/started; while test ! -e /c/go; do sleep 0.05; done; cat /c/f")
	}()
	<-running
	var name string
	for name == "" { // some rungs add to the name
		if found, _ := filepath.Glob(filepath.Join(h.dir.MountsPath(), cacheName("a")+"*", cacheDir, "started")); found != nil {
			name = filepath.Dir(found[0])
		}
		time.Sleep(10 * time.Millisecond)
	}
	old, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := h.client.RenewCaches(context.Background(), []string{"a", "never used"}); err != nil {
		t.Fatal(err)
	}
	for _, seed := range []string{"", "seed"} {
		if got := use("a", seed, "ls /c"); got != "" {
			t.Errorf("seed %q: the new one has %q", seed, got)
		}
	}
	if got := use("b", "", "cat /c/f"); got != "b\n" {
		t.Errorf("another cache has %q", got)
	}
	goOn, err := os.Create(fmt.Sprintf("/proc/self/fd/%d/go", old.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	goOn.Close()
	if got := <-done; got != "a\n" {
		t.Errorf("the step that used the old one sees %q", got)
	}
	if err := h.client.RenewCaches(context.Background(), nil); err != nil { // sweeps
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir.MountsPath(), outdated+"*")); left != nil {
		t.Errorf("left: %v", left)
	}
}
