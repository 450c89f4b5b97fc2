//go:build linux

package threats

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/layer"
)

func mkfifo(path string) error { return unix.Mkfifo(path, 0o644) }

func sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

func TestB12LinksOutOfTheContext(t *testing.T) {
	p := newPlace(t)
	must(t, os.Symlink(p.host.dir+"/secret", filepath.Join(p.context, "link")))
	must(t, os.Symlink(p.host.dir, filepath.Join(p.context, "d")))
	must(t, os.Symlink("../host/secret", filepath.Join(p.context, "up")))
	p.write("f", "f")
	for _, line := range []string{"COPY link /", "COPY d/secret /", "COPY up /", "COPY d/ /d/", "COPY link/x /", "ADD link /", "COPY lin[k] /x", "COPY d/secre* /"} {
		got, err := p.try("FROM scratch\n" + line + "\n")
		p.part(line, func() {
			if err != nil {
				p.refusal(err)
				return
			}
			p.nothingOfTheHost(got)
		})
	}
	got := p.accepted("FROM scratch\nCOPY . /\n")
	if e := got.entry("link"); e.Type != layer.Symlink || e.Linkname != p.host.dir+"/secret" {
		t.Errorf("link is %+v", e)
	}
	p.nothingOfTheHost(got)
}

// nothingOfTheHost wants no file of an image to hold what the canary holds.
func (p *place) nothingOfTheHost(r *result) {
	p.t.Helper()
	r.walk(func(e layer.Entry) {
		if e.Type == layer.Regular && strings.Contains(r.read(e.Name), secret) {
			p.t.Errorf("%s is the host's secret", e.Name)
		}
	})
}

// walk visits all entries of the image.
func (r *result) walk(visit func(layer.Entry)) {
	r.p.t.Helper()
	var down func(dir string)
	down = func(dir string) {
		entries, err := r.view.ReadDir(r.p.t.Context(), dir)
		must(r.p.t, err)
		for _, e := range entries {
			visit(e)
			if e.Type == layer.Directory {
				down(e.Name)
			}
		}
	}
	down(".")
}

func TestX01SourcesThatClimb(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	p.write("d/g", "g")
	stage := "FROM scratch AS st\nCOPY f /etc/shadow\nCOPY d /d\nFROM scratch\n"
	for _, line := range []string{"COPY --from=st ../../etc/shadow /x", "COPY --from=st /proc/self/root/../../etc/shadow /x", "COPY --from=st ../* /x/", "COPY ../../../../$HOST/secret /x",
		"COPY --from=st /d/../../../etc/shadow /x", "COPY $HOST/secret /x", "COPY --parents ../../$HOST/secret /x/", "COPY --parents /./../$HOST/secret /x/", "COPY [\"../..$HOST/secret\", \"/x\"]",
		"COPY --from=../img f /", "COPY --from=0x1 f /", "COPY --from=-1 f /", "COPY --from=99 f /", "COPY [ /", "COPY f[ /", "COPY \\ /", "COPY ** /x/", "COPY d/.. /x/", "COPY .. /x/"} {
		got, err := p.try(stage + line + "\n")
		p.part(line, func() {
			if err != nil {
				p.refusal(err)
				return
			}
			p.nothingOfTheHost(got)
		})
	}
	p.accepted(stage+"COPY --from=st ../../etc/shadow /x\n").holds("x", "f") // the stage's own
}

func TestX02DestinationsThroughLinks(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	p.hub.image("links", nil, tarOf(t, symlink("l", p.host.dir), dir("real"), symlink("to-real", "real"), file("file", "old"), symlink("up", "../../../..")))
	got := p.accepted("FROM $HUB/links\nCOPY f /l/pwned\nCOPY f /to-real/\nCOPY f /file\nCOPY f ../../up/climbed\nCOPY f /a/../../b\nADD f /l/\n")
	got.holds(p.inside("pwned"), "f")
	got.holds(p.inside("f"), "f")
	got.holds("real/f", "f")
	got.holds("file", "f")
	got.holds("climbed", "f")
	got.holds("b", "f")
	p.refused("FROM $HUB/links\nCOPY f /file/f\n")
	p.write("dir/x", "")
	p.refused("FROM $HUB/links\nCOPY dir /file\n")
}

func TestB08DirectoriesMadeThroughLinks(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	p.hub.image("links", nil, tarOf(t, symlink("w", p.host.dir)))
	got := p.accepted("FROM $HUB/links\nWORKDIR /w/new\nCOPY f /w/g/\nVOLUME /w/v\n")
	got.entry(p.inside("new"))
	got.holds(p.inside("g/f"), "f")
	needsRun(t)
	base := p.hub.base(tarOf(t, symlink("w", p.host.dir)))
	p.accepted("FROM " + base + "\nWORKDIR /w/new\nRUN --mount=type=tmpfs,target=/w/m touch made && test -d /w/m && test -d $HOST/m\n").entry(p.inside("new/made"))
}

func TestA08WholeNamesOfDots(t *testing.T) {
	p := newPlace(t)
	p.write("d/f", "f")
	p.hub.image("base", nil, tarOf(t, dir("top"), file("top/victim", "v"), dir("top/in")))
	for _, to := range []string{"..", "../..", "/..", "/top/in/..", "/top/in/../..", "../victim"} {
		got, err := p.try("FROM $HUB/base\nWORKDIR /top/in\nCOPY d " + to + "\n")
		p.part(to, func() {
			if err != nil {
				p.refusal(err)
				return
			}
			got.holds("top/victim", "v")
		})
	}
	got := p.accepted("FROM $HUB/base\nCOPY --exclude=.. --exclude=../* --exclude=../../victim d /d\n")
	got.holds("d/f", "f")
	got.holds("top/victim", "v")
}

func TestA24IgnoreFiles(t *testing.T) {
	p := newPlace(t)
	p.write("Dockerfile", "FROM scratch\nCOPY . /\n")
	p.write("keep", "k")
	fromFolder := func(o *builder.Options) { o.DockerfileData = nil }
	for name, text := range map[string]string{"open class": "ok\n[\n", "open range": "ok\n[a-\n", "escape": "ok\n\\\n", "nothing excepted": "ok\n!\n", "NUL": "ok\na\x00b\n"} {
		p.write(".dockerignore", text)
		_, err := p.try("", fromFolder)
		p.part(name, func() { p.refusal(err, ".dockerignore:2") })
	}
	for name, text := range map[string]string{"empty": "", "twice": "!!\n", "long line": "x" + strings.Repeat("y", 1<<20) + "\n", "BOM": "\ufeffother\n", "CRLF": "other\r\n",
		"many": strings.Repeat("nothing-like-this\n", 20_000), "outside": "../../*\n/../x\n"} {
		p.write(".dockerignore", text)
		got, err := p.try("", fromFolder)
		p.part(name, func() {
			if err != nil {
				p.refusal(err)
				return
			}
			got.holds("keep", "k")
		})
	}
}

func TestX26IgnoredFilesAreNotRead(t *testing.T) {
	p := newPlace(t)
	p.write("Dockerfile", "FROM scratch\nCOPY . /\n")
	p.write("secret/key", "s")
	p.write("secret/public", "p")
	p.write("a/b/c.log", "log")
	p.write("keep", "k")
	must(t, os.Symlink("secret", filepath.Join(p.context, "door")))
	must(t, os.Link(filepath.Join(p.context, "keep"), filepath.Join(p.context, "keep.log")))
	p.write(".dockerignore", "secret\n!secret/public\n**/*.log\n/./a/b/\nDockerfile\n")
	got := p.accepted("", func(o *builder.Options) { o.DockerfileData = nil })
	got.holds("keep", "k")
	got.holds("secret/public", "p")
	for _, name := range []string{"secret/key", "a/b", "keep.log", "Dockerfile"} {
		got.lacks(name)
	}
	for _, line := range []string{"COPY secret/key /", "COPY door/key /", "COPY ./secret/../secret/key /", "COPY a/b/c.log /", "ADD secret/key /"} {
		_, err := p.try("FROM scratch\n" + line + "\n")
		p.part(line, func() { p.refusal(err) })
	}
	before := got.img.Descriptor.Digest
	p.write("secret/key", "another")
	if again := p.accepted("", func(o *builder.Options) { o.DockerfileData = nil }); again.img.Descriptor.Digest != before {
		t.Error("an ignored file changes the image")
	}
	// That it is not even opened: a pipe would wait for ever.
	must(t, os.Remove(filepath.Join(p.context, "secret/key")))
	must(t, mkfifo(filepath.Join(p.context, "secret/key")))
	p.accepted("", func(o *builder.Options) { o.DockerfileData = nil })
}

func TestT40ContextsThatChange(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(p.context, "f")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch i % 4 {
			case 0:
				_ = os.WriteFile(path, []byte(strings.Repeat("a", 100_000)), 0o644)
			case 1:
				_ = os.Truncate(path, int64(i%1000))
			case 2:
				_ = os.Remove(path)
				_ = os.Symlink(p.host.dir+"/secret", path)
			case 3:
				_ = os.Remove(path)
			}
		}
	}()
	for range 60 {
		got, err := p.try("FROM scratch\nCOPY f* /\n")
		if err != nil {
			p.oneLine(err.Error())
			if strings.Contains(err.Error(), "too long") {
				t.Errorf("a header is wrong: %v", err)
			}
			continue
		}
		p.nothingOfTheHost(got)
	}
	close(stop)
	<-done
	os.Remove(path)
}

func TestX29OddContexts(t *testing.T) {
	p := newPlace(t)
	for i := range 3000 {
		p.write(fmt.Sprintf("many/%d/%d", i%50, i), "")
	}
	must(t, sparse(filepath.Join(p.context, "sparse"), 100<<30))
	p.accepted("FROM scratch\nCOPY many /many\n").entry("many/7/7")
	p.write("locked", "x")
	if os.Getuid() != 0 {
		must(t, os.Chmod(filepath.Join(p.context, "locked"), 0))
		p.refused("FROM scratch\nCOPY locked /\n", "locked")
	}
	// The store within the context, and the other way round, are neither copied nor harmed.
	inner := filepath.Join(p.context, "store")
	p.store, inner = inner, p.store
	p.accepted("FROM scratch\nCOPY many/1 /1\n").entry("1")
	p.store = inner
	must(t, os.RemoveAll(filepath.Join(p.context, "store")))
	_, err := p.try("FROM scratch\nCOPY self/nothing /\n", func(o *builder.Options) { o.Context = "/proc" })
	p.refusal(err)
}

func TestX28PatternsThatBlowUp(t *testing.T) {
	p := newPlace(t)
	for i := range 300 {
		p.write(fmt.Sprintf("a%d/aaaaaaaaaaaaaaaaaaaa%d/f", i%40, i), "")
	}
	for _, pattern := range []string{strings.Repeat("a*", 30) + "b/*/f", strings.Repeat("*", 200) + "/" + strings.Repeat("*", 200) + "/x", "a*/*a*a*a*a*a*a*a*a*a*a*b*[^.]/f"} {
		p.accepted("FROM scratch\nCOPY " + pattern + " /x/\n").lacks("x/a7") // nothing is enough, as with BuildKit
	}
	p.write(".dockerignore", strings.Repeat("**/", 20)+"*a*a*a*a*a*a*a*b\n"+strings.Repeat("x*y*z\n", 50))
	p.accepted("FROM scratch\nCOPY . /\n").entry("a7")
}

func TestK07LinksCopiedTwice(t *testing.T) {
	p := newPlace(t)
	p.write("d/f", "f")
	must(t, os.Symlink("f", filepath.Join(p.context, "d/link")))
	got := p.accepted("FROM scratch\nCOPY d /a/\nCOPY d/link /a/\nCOPY d/link /a/\n")
	got.holds("a/f", "f")
	if e := got.entry("a/link"); e.Type != layer.Symlink && got.read("a/link") != "f" {
		t.Errorf("link is %+v", e)
	}
}

func TestA16ContextsThatAreSwapped(t *testing.T) {
	p := newPlace(t)
	p.write("d/f", "mine")
	p.write("e/f", "mine")
	must(t, os.Symlink(p.host.dir, filepath.Join(p.context, "x")))
	must(t, os.WriteFile(filepath.Join(p.context, "e", "secret"), nil, 0o644))
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(p.context, "e"), unix.AT_FDCWD, filepath.Join(p.context, "x"), unix.RENAME_EXCHANGE)
			}
		}
	})
	end := time.Now().Add(time.Second)
	for n := 0; n < 50 || time.Now().Before(end) && n < 200; n++ {
		got, err := p.try("FROM scratch\nCOPY e/secre* e/f* /\n")
		if err != nil {
			p.oneLine(err.Error())
			continue
		}
		p.nothingOfTheHost(got)
	}
	close(stop)
	swapping.Wait()
}
