package worker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// agreement is a series of steps, one layer each, that says of a rung whether
// owners, modes, links and devices come out as they should.
var agreement = []string{
	`busybox mkdir -p a/b; busybox touch a/f a/b/g; busybox ln -s f a/l; chown -R 5:6 a; busybox chown -h 7:8 a/l; busybox chmod 4755 a/f; busybox chmod 2775 a/b`,
	`busybox cp -a a c; busybox mv a/f a/moved; busybox ln a/moved a/hard; busybox ln a/l a/l2; chown 9 a/hard; rm a/b/g; touch a/b/inherits; mkdir a/b/dir`,
	`busybox tar cf /t c; rm -r c; busybox tar xf /t; rm /t; busybox mkfifo p; chown 10:11 p; chown 0:0 c/f; chown 1:1 etc/owned; chown 1000:1000 etc/owned`,
	`echo 'app:x:1234:1235::/:/bin/sh' >etc/passwd; echo 'app:x:1235:' >etc/group; mkdir -p tmp; busybox chmod 1777 tmp
		busybox su app -c 'cd /tmp; umask 027; echo mine >made; busybox mkdir dir; busybox ln -s made link; busybox mkfifo pipe; busybox chmod 6755 made; test $(id -u) = 1234'`,
	`chown 20:20 . ; rm -r a; mkdir a; chown 3:4 a; busybox ln -s x a/l; chown 1 p; rm c/l; busybox ln c/f c/g`,
}

// TestRungsAgree does the same steps on every rung there is here. They run over
// layers of each other rung, too: a layer is the same whoever made it.
func TestRungsAgree(t *testing.T) {
	var first []string
	var on string
	for _, isolation := range Isolations() {
		h := newHouseOn(t, isolation)
		if h == nil {
			continue
		}
		layers := []snapshot.Layer{h.layer(tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/link", Linkname: "owned", Uid: 30, Gid: 31})}
		var got []string
		for i, script := range agreement {
			e, out := h.must(h.shell(script, layers...))
			if out != "" {
				t.Errorf("%s, step %d says %q", isolation, i, out)
			}
			l := h.commit(e)
			layers = append(layers, l)
			got = append(got, h.entries(l)...)
			got = append(got, "")
		}
		if first == nil {
			first, on = got, isolation
			continue
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("layers of %s (-) and %s (+) differ:\n%s", on, isolation, diff)
		}
	}
	if joined := strings.Join(first, "\n"); first != nil && (!strings.Contains(joined, "tmp/made 6755 1234:1235") || !strings.Contains(joined, "a/l 0777 7:8")) {
		t.Errorf("%s: %s", on, joined)
	}
}

// Devices are told of by real root, and by those who only make them up.
func TestDevicesOfSteps(t *testing.T) {
	for _, isolation := range []string{IsolationRoot, IsolationUsernsSingle} {
		t.Run(isolation, func(t *testing.T) {
			h := newHouseOn(t, isolation)
			if h == nil {
				t.Skip("SKIPPED: not to be had here")
			}
			base := h.layer(tar.Header{Typeflag: tar.TypeChar, Name: "of-layer", Devmajor: 1, Devminor: 5, Uid: 3})
			e, out := h.must(h.shell(`busybox mknod c c 1 3; busybox mknod -m 600 b b 7 200; chown 5:6 c; stat -c '%u %F %t,%T' of-layer; busybox cp -a of-layer copy`, base))
			if out != "3 character special file 1,5\n" {
				t.Errorf("of a layer: %q", out)
			}
			want := []string{"b 0600 0:0 4 7,200 ", "c 0644 5:6 3 1,3 ", "copy 0755 3:0 3 1,5 "}
			if diff := cmp.Diff(want, h.entries(h.commit(e))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Root of a user namespace like the one that it would make for steps makes it.
func TestRootWithOneID(t *testing.T) {
	if os.Getenv("WORKER_TEST_MACHINE") == "" {
		inUserNamespace(t)
		return
	}
	t.Setenv(isolationVar, "")
	h := newHouse(t)
	if h.client.Isolation != IsolationUsernsSingle {
		t.Errorf("rung %s", h.client.Isolation)
	}
	h.must(h.shell("chown 5 etc/owned"))
}

// newHouseOn is a house whose worker stands on a rung; nil where that is not to
// be had.
func newHouseOn(t *testing.T, isolation string) *house {
	t.Helper()
	h, err := startHouse(t, Options{Isolation: isolation})
	if err != nil {
		t.Logf("without %s: %v", isolation, err)
		return nil
	}
	return h
}

// entries lists a layer, without times.
func (h *house) entries(l snapshot.Layer) []string {
	h.t.Helper()
	f, err := os.Open(l.Blob)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	raw, err := layer.NewReader(f, l.MediaType)
	if err != nil {
		h.t.Fatal(err)
	}
	defer raw.Close()
	var lines []string
	for r := layer.NewTarReader(context.Background(), raw, layer.Limits{}); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			h.t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %04o %d:%d %c %d,%d %s", e.Name, e.Mode, e.UID, e.GID, e.Type, e.Devmajor, e.Devminor, e.Linkname))
	}
}
