//go:build unix

package examples

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// packages is what takes more than one user: packages with users, groups and set-id programs of their own, and people.
const packages = `FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends dbus man-db sudo
RUN useradd -m -u 1234 bob && su - bob -c 'id > who; umask 077; mkdir -p private/dir; ln -s who link' && \
	install -d -m 2775 -g staff /srv/shared && touch /srv/shared/file && chown -h bob /home/bob/link && \
	mknod /srv/null c 1 3 && cp -a /home/bob /srv/copy && tar cf - -C /home bob | tar xpf - -C /srv
RUN echo 'bob ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/bob
USER bob
RUN sudo install -o bob -g staff -m 640 /etc/shadow /home/bob/shadow && sudo -u nobody touch /tmp/nobodys && \
	test "$(id -un) $(sudo id -un)" = "bob root"
`

// An ordinary user without sub-ids makes the image that root makes.
func TestWithoutSubIDs(t *testing.T) {
	dir := shared(t, map[string]string{"Dockerfile": packages})
	var want []string
	for _, isolation := range []string{"root", "userns-single"} {
		p := newPlace(t)
		if isolation != "root" {
			p.becomeTester()
		}
		p.with("debian:bookworm-slim")
		p.run(append(append([]string{"build", "--isolation", isolation, "-t", "people"}, machineFlags(t, []string{"apt"})...), dir)...)
		got := p.owners("people")
		nothingLeft(t, p.store, p.binary)
		if want == nil {
			want = got
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("root's image (-) and that of an ordinary user (+):\n%s", diff)
		}
	}
	all := strings.Join(want, "\n")
	for _, line := range []string{"4754 0:101 usr/lib/dbus-1.0/dbus-daemon-launch-helper", "0700 1234:1234 home/bob/private", "0640 1234:50 home/bob/shadow"} {
		if !strings.Contains(all, line) {
			t.Errorf("no %s in\n%s", line, all)
		}
	}
}

// owners lists the layers of an image but for the base's: modes, owners and what files are.
func (p *place) owners(name string) []string {
	p.t.Helper()
	stdout, _ := p.run("save", name)
	blobs, index := map[string][]byte{}, ocispec.Index{}
	for r := tar.NewReader(strings.NewReader(stdout)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if blobs[strings.TrimPrefix(h.Name, "blobs/sha256/")], err = io.ReadAll(r); err != nil {
			p.t.Fatal(err)
		}
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(blobs["index.json"], &index); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(blobs[index.Manifests[0].Digest.Encoded()], &manifest); err != nil {
		p.t.Fatal(err)
	}
	var lines []string
	for i, l := range manifest.Layers[1:] {
		lines = append(lines, fmt.Sprintf("layer %d", i+1))
		lines = append(lines, p.entries(blobs[l.Digest.Encoded()])...)
	}
	return lines
}

func (p *place) entries(blob []byte) []string {
	p.t.Helper()
	raw, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		p.t.Fatal(err)
	}
	var lines []string
	for r := tar.NewReader(raw); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			p.t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%c %04o %d:%d %s %s %d,%d", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name, h.Linkname, h.Devmajor, h.Devminor))
	}
}
