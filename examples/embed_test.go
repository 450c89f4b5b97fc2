//go:build unix

package examples

import (
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
)

// The program that embeds the library builds with COPY and RUN, as root and as an ordinary user with sub-ids.
func TestEmbed(t *testing.T) {
	t.Run("root", func(t *testing.T) { testEmbedRun(t, newPlace(t)) })
	t.Run("user with sub-ids", func(t *testing.T) {
		p := newPlace(t)
		p.becomeTester()
		testEmbedRun(t, p)
	})
}

func testEmbedRun(t *testing.T, p *place) {
	p.withBusybox()
	dir := shared(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY greeting /\n" +
			"RUN cat /greeting > /owned && chown 33:44 /owned && test \"$(stat -c %u:%g /owned)\" = 33:44\n",
		"greeting": "built by a program\n",
	})
	out, err := p.program(compiled(t, "embed"), dir, "embedded").CombinedOutput()
	if err != nil {
		t.Fatalf("embed: %v\n%s", err, out)
	}
	wantDigest(t, out)
	if got, _ := p.run("run", "embedded", "sh", "-c", "stat -c %u:%g /owned && cat /owned"); got != "33:44\nbuilt by a program\n" {
		t.Errorf("got %q", got)
	}
	nothingLeft(t, p.store, p.binary)
}

// Neither sub-ids nor a home that can be written to are needed.
func TestEmbedWithoutSubIDs(t *testing.T) {
	p := newPlace(t)
	const nobody = 54321              // in no /etc/passwd and no /etc/subuid
	p.become(nobody, nobody, open(t)) // root's folder: to others it is read-only
	p.withBusybox()
	content := map[string]string{"Dockerfile": "FROM busybox\nCOPY greeting /\n", "greeting": "hello\n"}
	out, err := p.program(compiled(t, "embed"), shared(t, content), "embedded").CombinedOutput()
	if err != nil {
		t.Fatalf("embed: %v\n%s", err, out)
	}
	wantDigest(t, out)
	archive := filepath.Join(filepath.Dir(p.store), "image.tar")
	p.run("save", "-o", archive, "embedded")
	output(t, "skopeo", "inspect", "oci-archive:"+archive)

	// A RUN has one id for all, and sees the owners that there would be.
	with := maps.Clone(content)
	with["Dockerfile"] += "RUN chown 33:44 /greeting && test \"$(stat -c %u:%g /greeting)\" = 33:44\n"
	if out, err = p.program(compiled(t, "embed"), shared(t, with)).CombinedOutput(); err != nil {
		t.Errorf("RUN without sub-ids: %v\n%s", err, out)
	}
	nothingLeft(t, p.store, p.binary)
}

// The program that makes its own graph: commands side by side, merge, diff, and the output of a mount.
func TestLLB(t *testing.T) {
	p := newPlace(t).withBusybox()
	out, err := p.program(compiled(t, "llb"), "busybox", "merged").CombinedOutput()
	if err != nil {
		t.Fatalf("llb: %v\n%s", err, out)
	}
	wantDigest(t, out)
	if got, _ := p.run("run", "merged", "sh", "-c", "cat /one /two /aside; test -e /bin/yes || echo gone"); got != "one\ntwo\naside\ngone\n" {
		t.Errorf("got %q", got)
	}
	nothingLeft(t, p.store, p.binary)
}

func wantDigest(t *testing.T, out []byte) {
	t.Helper()
	if !regexp.MustCompile(`^sha256:[0-9a-f]{64}\n$`).Match(out) {
		t.Errorf("embed prints %q, want a digest", out)
	}
}

// compiled builds one of the example programs.
func compiled(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(open(t), name)
	cmd := exec.Command("go", "build", "-o", binary, "./"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// becomeTester makes the user with sub-ids use the store.
func (p *place) becomeTester() {
	p.t.Helper()
	name := os.Getenv("OCIBUILD_TESTER")
	if name == "" {
		p.t.Skip("SKIPPED: OCIBUILD_TESTER names no user with sub-ids: make test makes one")
	}
	u, err := user.Lookup(name)
	if err != nil {
		p.t.Skipf("SKIPPED: OCIBUILD_TESTER: %v", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	p.become(uid, gid, u.HomeDir)
}

// become makes somebody else use the store, which moves to where they can write.
func (p *place) become(uid, gid int, home string) {
	p.t.Helper()
	if os.Geteuid() != 0 {
		p.t.Skip("SKIPPED: only root can be somebody else")
	}
	dir := open(p.t)
	if err := os.Chown(dir, uid, gid); err != nil {
		p.t.Fatal(err)
	}
	p.store = filepath.Join(dir, "store")
	p.as = func(cmd *exec.Cmd) {
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "OCIBUILD_STORE=" + p.store}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
}

// open makes a folder that every user may enter.
func open(t *testing.T) string {
	t.Helper()
	dir, err := openTempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// shared is a folder to build from that every user may read.
func shared(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := open(t)
	if err := os.CopyFS(filepath.Join(dir, "context"), os.DirFS(files(t, content))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "context")
}
