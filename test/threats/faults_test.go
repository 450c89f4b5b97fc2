//go:build linux

package threats

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/builder"
)

// steady is a build of some steps whose result never differs.
func (p *place) steady(base string) {
	p.write("f", "f")
	p.write("Dockerfile", "FROM "+base+"\nCOPY f /f\nRUN echo ran > /ran && mkdir /d && ln -s f /link\nFROM "+base+"\nCOPY --from=0 /ran /d /x/\nRUN cat /x/ran > /seen\n")
}

func TestF01KilledAnywhere(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.steady(p.hub.base())
	program(t, commandLine) // which takes longer than all else
	for after := 5 * time.Millisecond; after < 250*time.Millisecond; after = after * 5 / 3 {
		p.emptyStoreAsUser()
		cmd := p.command("build", "-q", ".")
		must(t, cmd.Start())
		time.Sleep(after)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		p.gone()
		next, again := p.call("build", "-q", "."), p.call("build", "-q", ".")
		if next.code != 0 || next.stdout != again.stdout {
			t.Errorf("killed after %v, the next builds yield %d %q %q and %q", after, next.code, next.stdout, next.stderr, again.stdout)
		}
		nothingLeft(t, p.dir, filepath.Join(p.store, "tmp")) // of the dead one
	}
}

// emptyStoreAsUser forgets what was built, run or not.
func (p *place) emptyStoreAsUser() {
	p.t.Helper()
	out := filepath.Join(p.dir, "out")
	must(p.t, os.MkdirAll(out, 0o755))
	dir, err := os.MkdirTemp(out, "store-*") // what sub-ids own cannot be removed by us
	must(p.t, err)
	p.store = dir
}

func (p *place) sinceEpoch(args ...string) outcome {
	p.t.Helper()
	return p.callWith(func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH=1700000000") }, args...)
}

func TestF05ManyAtOnce(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.steady(p.hub.base())
	results := make(chan outcome, 6)
	for range cap(results) {
		go func() { results <- p.sinceEpoch("build", "-q", ".") }()
	}
	var first string
	for range cap(results) {
		o := <-results
		if first == "" {
			first = o.stdout
		}
		if o.code != 0 || o.stdout != first {
			t.Errorf("%d %q %q", o.code, o.stdout, o.stderr)
		}
	}
}

func TestF09FullDisks(t *testing.T) {
	p := newPlace(t)
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to mount a small disk")
	}
	noise := make([]byte, 700<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	p.write("big", string(noise))
	p.write("Dockerfile", "FROM scratch\nCOPY big /big\n")
	small := filepath.Join(p.dir, "out", "disk")
	must(t, os.MkdirAll(small, 0o755))
	for _, size := range []string{"size=40k", "size=200k", "size=600k", "nr_inodes=12"} {
		// In a mount namespace of its own, which goes with the command.
		cmd := p.command("build", "--progress", "plain", "-o", "type=oci,tar=false,dest="+filepath.Join(small, "image"), ".")
		cmd.Env = append(cmd.Env, "OCIBUILD_STORE="+filepath.Join(small, "store"))
		cmd.Args = append([]string{"sh", "-c", `mount --make-rprivate / && mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"`, size, small, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		p.part(size, func() {
			if err == nil || !bytes.Contains(out, []byte("no space left on device")) || bytes.Contains(out, []byte("goroutine ")) {
				p.t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestF11Homes(t *testing.T) {
	p := newPlace(t)
	p.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	nowhere := filepath.Join(p.dir, "nowhere")
	for name, env := range map[string][]string{
		"no HOME": {"HOME="}, "HOME is nowhere": {"HOME=" + nowhere}, "relative": {"XDG_DATA_HOME=relative", "XDG_RUNTIME_DIR=relative", "XDG_CONFIG_HOME=../.."}, "TMPDIR is nowhere": {"TMPDIR=" + nowhere}, "TMPDIR is a file": {"TMPDIR=" + p.host.dir + "/victim-full"},
	} {
		o := p.callWith(func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) }, "build", "-q", ".")
		p.part(name, func() {
			if o.code != 0 {
				p.fails(o, 1)
				p.t.Errorf("it fails: %s", o.stderr)
			}
		})
	}
	for name, store := range map[string]string{"a file": p.host.dir + "/victim-full", "below a file": p.host.dir + "/victim-full/store", "in /proc": "/proc/self/store"} {
		o := p.callWith(func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "OCIBUILD_STORE="+store) }, "build", "-q", ".")
		p.part(name, func() { p.fails(o, 1, store) })
	}
}

func TestF12DamagedStores(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", "from the base"))
	p.hub.image("base", nil, data)
	p.write("g", "from the context")
	build := func() (*result, error) {
		return p.try("FROM $HUB/base\nCOPY --from=$HUB/base /f /copy\nCOPY g /g\n", func(o *builder.Options) { o.Now = time.Unix(1_700_000_000, 0) })
	}
	first, err := build()
	must(t, err)
	var files []string
	must(t, filepath.WalkDir(p.store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	}))
	damage := map[string]func(string) error{
		"a bit": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil || len(data) == 0 {
				return err
			}
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
		"half": func(path string) error {
			fi, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, fi.Size()/2)
		},
		"nothing":  func(path string) error { return os.Truncate(path, 0) },
		"deleted":  os.Remove,
		"a folder": func(path string) error { os.Remove(path); return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"a link":   func(path string) error { os.Remove(path); return os.Symlink(p.host.dir+"/secret", path) },
	}
	keep := filepath.Join(p.dir, "out", "keep")
	must(t, os.MkdirAll(filepath.Dir(keep), 0o755))
	must(t, os.CopyFS(keep, os.DirFS(p.store)))
	for _, path := range files {
		for name, harm := range damage {
			p.emptyStore()
			must(t, os.CopyFS(p.store, os.DirFS(keep)))
			must(t, os.Chmod(p.store, 0o700))
			must(t, harm(path))
			rel, _ := filepath.Rel(p.store, path)
			p.part(name+" of "+rel, func() {
				got, err := build()
				if err != nil {
					p.refusal(err) // as long as it says so
					return
				}
				if got.img.Descriptor.Digest != first.img.Descriptor.Digest {
					p.t.Errorf("the image is another one")
				}
				r, err := readAll(got, "copy", "g")
				if err == nil && r != "from the basefrom the context" {
					p.t.Errorf("it holds %q", r)
				}
			})
		}
	}
	p.emptyStore()
}

// readAll reads files of an image, whose blobs may be damaged.
func readAll(r *result, names ...string) (string, error) {
	var all strings.Builder
	for _, name := range names {
		e, err := r.view.Lookup(r.p.t.Context(), name)
		if err != nil {
			return "", err
		}
		f, err := r.view.Open(r.p.t.Context(), e)
		if err != nil {
			return "", err
		}
		defer f.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(f); err != nil {
			return "", err
		}
		all.Write(b.Bytes())
	}
	return all.String(), nil
}

func TestF13StoresThatLostTheirIndex(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	tagged := func(o *builder.Options) { o.Tags = []string{"mine"} }
	p.accepted("FROM scratch\nCOPY f /f\n", tagged)
	for _, name := range []string{"index.json", "oci-layout", "keys", "toc", "blobs", "locks", "tmp", "trees"} {
		must(t, os.RemoveAll(filepath.Join(p.store, name)))
		got, err := p.try("FROM scratch\nCOPY f /f\n", tagged)
		p.part(name, func() {
			must(p.t, err)
			got.holds("f", "f")
		})
	}
}

func TestF14RegistriesThatAreBusy(t *testing.T) {
	p := newPlace(t)
	p.hub.image("busy", nil, tarOf(t, file("f", "f")))
	for _, status := range []int{500, 502, 503, 504, 429, 408} {
		var times atomic.Int32
		p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") && times.Add(1) == 1 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(status)
				return true
			}
			return false
		}
		p.emptyStore()
		p.part(fmt.Sprint(status), func() { p.accepted("FROM scratch\nCOPY --from=$HUB/busy /f /f\n").holds("f", "f") })
	}
	for _, status := range []int{400, 403, 404, 418, 451, 401} {
		p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errors":[{"code":"X","message":"because\x1b[31m of\nit"}]}`)
			return true
		}
		p.part(fmt.Sprint(status), func() { p.refused("FROM $HUB/busy\n", "$HUB/busy") })
	}
	for _, after := range []string{"garbage", "-5", "0"} {
		var times atomic.Int32
		p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") && times.Add(1) == 1 {
				w.Header().Set("Retry-After", after)
				w.WriteHeader(429)
				return true
			}
			return false
		}
		p.part("Retry-After "+after, func() { p.accepted("FROM $HUB/busy\nLABEL a=b\n") })
	}
}

func TestF16AnswersThatAreCutOrChanged(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", strings.Repeat("f", 5000)))
	p.hub.image("cut", nil, data)
	onBlob := func(f func(http.ResponseWriter, *http.Request)) {
		p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, digest.FromBytes(data).String()) && onPath(r, "/blobs/", func() { f(w, r) })
		}
	}
	var times atomic.Int32
	cut := func(w http.ResponseWriter, length string) {
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		_, _ = w.Write(data[:2000])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	// Cut once, and then whole again, with and without ranges: it arrives.
	for name, rest := range map[string]func(http.ResponseWriter, *http.Request){
		"ranges ignored": func(w http.ResponseWriter, r *http.Request) { answer(w, r, data) },
		"ranges": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		},
	} {
		times.Store(0)
		onBlob(func(w http.ResponseWriter, r *http.Request) {
			if times.Add(1) == 1 {
				cut(w, fmt.Sprint(len(data)))
			}
			rest(w, r)
		})
		p.emptyStore()
		p.part(name, func() { p.accepted("FROM scratch\nCOPY --from=$HUB/cut /f /f\n").holds("f", strings.Repeat("f", 5000)) })
	}
	for name, f := range map[string]func(http.ResponseWriter, *http.Request){
		"another range": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 7-9/10")
			w.WriteHeader(206)
		},
		"gzip on the way": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			answer(w, r, gzipped(t, data))
		},
		"a page": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>log in</html>")
		},
		"nothing": func(w http.ResponseWriter, r *http.Request) {},
	} {
		onBlob(f)
		p.emptyStore()
		p.part(name, func() { p.refused("FROM scratch\nCOPY --from=$HUB/cut /f /f\n", "$HUB/cut") })
	}
	p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
		return onPath(r, "/manifests/", func() { w.Header().Set("Content-Type", "text/html"); fmt.Fprint(w, "<html>log in</html>") })
	}
	p.refused("FROM $HUB/cut\n", "$HUB/cut")
}

func TestF17WrongDigestsOfTags(t *testing.T) {
	p := newPlace(t)
	p.hub.image("tag", nil, tarOf(t, file("f", "f")))
	doc := p.hub.manifests["tag:latest"]
	for name, said := range map[string]string{"missing": "", "another": digest.FromString("x").String(), "malformed": "sha256:../../x", "sha512": digest.SHA512.FromString("x").String()} {
		p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
			return onPath(r, "/manifests/latest", func() {
				w.Header().Set("Content-Type", doc.mediaType)
				if said != "" {
					w.Header().Set("Docker-Content-Digest", said)
				}
				answer(w, r, doc.data)
			})
		}
		p.emptyStore()
		got, err := p.try("FROM scratch\nCOPY --from=$HUB/tag /f /f\n")
		p.part(name, func() {
			if err != nil {
				p.refusal(err, "$HUB/tag")
				return
			}
			got.holds("f", "f")
		})
	}
}

func TestF21ClocksThatAreWrong(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	for _, now := range []time.Time{time.Unix(0, 0), time.Unix(1<<31+5, 0), time.Unix(1<<32+5, 0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)} {
		must(t, os.Chtimes(filepath.Join(p.context, "f"), now, now))
		p.accepted("FROM scratch\nWORKDIR /w\nCOPY f /f\n", func(o *builder.Options) { o.Now, o.NoCache = now, true }).holds("f", "f")
	}
}

func TestF28FewDescriptors(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.steady(p.hub.base())
	for i := range 300 {
		p.write(fmt.Sprintf("many/%d", i), "")
	}
	cmd := p.command("build", "-q", ".")
	cmd.Args = append([]string{"sh", "-c", `ulimit -n 128; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with 128 descriptors: %v\n%s", err, out)
	}
}

func TestF30OutputsThatAreClosed(t *testing.T) {
	p := newPlace(t)
	p.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	o := p.callWith(func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader("") }, "build", "-")
	p.fails(o, 2, "empty")
	o = p.callWith(func(cmd *exec.Cmd) {
		cmd.Stdin = bytes.NewReader(tarOf(p.t, file("Dockerfile", "FROM scratch\n"+strings.Repeat("#", 600)))[:700])
	}, "build", "-q", "-")
	if o.code == 0 {
		t.Error("half of a context is built")
	}
	missing := filepath.Join(p.dir, "missing", "image.tar")
	p.fails(p.call("build", "-o", "type=oci,dest="+missing, "."), 1, missing)
	r, w, err := os.Pipe()
	must(t, err)
	must(t, r.Close())
	o = p.callWith(func(cmd *exec.Cmd) { cmd.Stdout = w }, "build", "-q", "-o", "type=oci,dest=-", "--progress", "plain", ".")
	must(t, w.Close())
	if o.code == 0 {
		t.Error("an archive that nobody has read is a success")
	}
}

func TestF32PathsOfStores(t *testing.T) {
	needsRun(t)
	for _, name := range []string{"with space", "colon:x", "comma,x", `back\slash`, "new\nline", "ünïcödé", "equals=x", "percent%41", "-dash", "quote'\"", strings.Repeat("long/", 50) + "x"} {
		p := newPlace(t)
		p.store = filepath.Join(p.dir, "out", name, "store")
		must(t, os.MkdirAll(filepath.Dir(p.store), 0o755))
		p.part(name[:min(20, len(name))], func() {
			got := p.run(p.hub.base(tarOf(p.t, file("a", "a"))), "cat /a > /b")
			got.holds("b", "a")
		})
	}
	p := newPlace(t)
	real := filepath.Join(p.dir, "out", "real")
	must(t, os.MkdirAll(real, 0o700))
	must(t, os.Symlink(real, p.store))
	p.run(p.hub.base(), "touch /linked").entry("linked")
}

func TestF33TreesThatResist(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.accepted("FROM " + p.hub.base() + "\nRUN --mount=type=cache,target=/c mkdir -p /c/a/b/c /locked/in && touch /c/a/b/c/f && chmod 0 /c/a/b/c /c/a/b /c/a /locked/in /locked\n")
	p.refused("FROM " + p.hub.base() + "\nRUN mkdir -p /x/y && touch /x/y/z && chmod 0 /x/y /x && exit 3\n")
	p.untouched() // what the failed step left is gone
}

func TestF36ManyBuildsInOneProcess(t *testing.T) {
	p := newPlace(t)
	p.write("f", "f")
	count := func() int {
		runtime.GC() // layers of results may be read as long as somebody has them
		runtime.GC()
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	p.change = func(o *builder.Options) { o.Registries = nil }
	p.hub.image("base", nil, tarOf(t, file("b", "b")))
	dockerfile := "FROM $HUB/base\nCOPY f /f\nCOPY --from=$HUB/base /b /c\n"
	p.accepted(dockerfile)
	before := count()
	for i := range 60 {
		p.write("f", fmt.Sprint(i))
		p.accepted(dockerfile)
	}
	if after := count(); after > before+10 {
		t.Errorf("%d descriptors became %d", before, after)
	}
}
