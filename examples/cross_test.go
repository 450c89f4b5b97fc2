//go:build unix

package examples

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Steps for another processor need an emulator on PATH and nothing else of the machine, whoever builds.
func TestCross(t *testing.T) {
	t.Run("root", func(t *testing.T) { testCross(t, newPlace(t)) })
	t.Run("user with sub-ids", func(t *testing.T) {
		p := newPlace(t)
		p.becomeTester()
		testCross(t, p)
	})
}

func testCross(t *testing.T, p *place) {
	p.withBusybox().with("busybox:arm64")
	before := registered(t)
	dockerfile, err := os.ReadFile("cross/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	dir := shared(t, map[string]string{"Dockerfile": string(dockerfile)})
	build := []string{"build", "--platform", "linux/arm64", "--progress", "plain"}
	p.run(append(build, "--build-arg", "BASE=busybox:arm64", "-t", "cross", dir)...)
	nothingLeft(t, p.store, p.binary)
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	if got, _ := p.run("run", "cross"); got != "made on "+machine+" for arm64\naarch64\nnobody\naarch64\n" {
		t.Errorf("it prints %q", got)
	}

	more := shared(t, map[string]string{"secret": "hush", "Dockerfile": moreDockerfile})
	build = append(build, "--secret", "id=token,src="+filepath.Join(more, "secret"), "-t", "more", more)
	p.run(build...)
	nothingLeft(t, p.store, p.binary)
	arch, layers := contents(p, "more")
	if arch != "arm64" {
		t.Errorf("the image is for %q", arch)
	}
	want := [][]string{{"made"}, {"data", "data/machine"}, {"data", "data/user"}, {"checked"}, nil}
	if diff := cmp.Diff(want, layers[1:]); diff != "" { // the first one is the base's
		t.Errorf("what its layers hold (- wanted, + there): %s", diff)
	}
	if _, stderr := p.run(build...); strings.Count(stderr, "CACHED") != 2 {
		t.Errorf("two steps were to be cached:\n%s", stderr)
	}
	if after := registered(t); after != before {
		t.Errorf("registered with the machine before:\n%s\nand after:\n%s", before, after)
	}
}

// A step for another processor is as much kept apart as any.
const moreDockerfile = `FROM cross
USER root
RUN --network=none --mount=type=secret,id=token,uid=33 --mount=type=cache,target=/cache \
	test "$(stat -c %u /run/secrets/token)$(cat /run/secrets/token)" = 33hush && echo x > /cache/x && \
	test "$(grep -c : /proc/net/dev)" = 1 && test "$(uname -m)" = aarch64 && grep -q "Seccomp:.2" /proc/self/status && \
	! mount -t tmpfs x /tmp && test ! -e /proc/sys/fs/binfmt_misc/status && touch /checked && chown 1000:2000 /checked
USER www-data:nogroup
RUN test "$(id -u):$(id -g) $(stat -c %u:%g /checked)" = "33:65534 1000:2000" && ! touch /checked && test ! -e /cache/x
`

// contents returns what an image is for, and the names in each of its layers.
func contents(p *place, tag string) (arch string, layers [][]string) {
	p.t.Helper()
	path := filepath.Join(filepath.Dir(p.store), "contents.tar")
	p.run("save", "--format", "docker-archive", "-o", path, tag)
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		p.t.Fatal(err)
	}
	all, err := img.Layers()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, l := range all {
		r, err := l.Uncompressed()
		if err != nil {
			p.t.Fatal(err)
		}
		var names []string
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				p.t.Fatal(err)
			}
			names = append(names, strings.Trim(h.Name, "/"))
		}
		layers = append(layers, names)
		_ = r.Close()
	}
	return config.Architecture, layers
}

// registered is what the machine's own binfmt_misc holds, which only root can ask where it is not mounted.
func registered(t *testing.T) string {
	t.Helper()
	return output(t, "unshare", "--mount", "sh", "-ec",
		`mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; cd /proc/sys/fs/binfmt_misc
		for f in *; do test "$f" = register || tail -n +1 -v "$f"; done`)
}

// Without one the error names the line and what to install.
func TestCrossWithoutEmulator(t *testing.T) {
	p := newPlace(t).with("busybox:arm64")
	dir := files(t, map[string]string{"Dockerfile": "FROM busybox:arm64\nRUN true\n"})
	var stderr bytes.Buffer
	cmd := p.command("build", "--platform", "linux/arm64", dir)
	cmd.Env = append(cmd.Env, "PATH=/nonexistent")
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err == nil {
		t.Skip("SKIPPED: this machine runs programs for arm64 as it is")
	}
	want := "ocibuild: Dockerfile:2: programs for arm64 do not run on this " + runtime.GOARCH +
		" machine, and no statically linked qemu-aarch64 is on PATH to run them: install the package qemu-user-static"
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), want) {
		t.Errorf("%v\n%s", err, &stderr)
	}
	nothingLeft(t, p.store, p.binary)
}

// What is done for one processor is not taken for what would be done for another.
func TestPlatformsDoNotShareSteps(t *testing.T) {
	p := newPlace(t)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	dir := files(t, map[string]string{
		"busybox":    string(busybox),
		"Dockerfile": "FROM scratch\nCOPY --chmod=755 busybox /\nRUN [\"/busybox\", \"cp\", \"/proc/sys/kernel/random/uuid\", \"/made\"]\n",
	})
	made := map[string]string{}
	for _, platform := range []string{"linux/amd64", "linux/arm64", "linux/amd64"} {
		p.run("build", "--platform", platform, "-t", "image", dir)
		layers := p.inspect("image").Layers
		id := layers[len(layers)-1].DiffID.String()
		if made[platform] != "" && made[platform] != id {
			t.Errorf("%s was not cached", platform)
		}
		made[platform] = id
	}
	if made["linux/amd64"] == made["linux/arm64"] {
		t.Error("both have the same layer")
	}
}
