package builder

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/worker"
	"github.com/ocibuild/ocibuild/layer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// project is a build context and a store of its own.
type project struct {
	t     *testing.T
	dir   string
	store string

	mu     sync.Mutex
	events []Event
}

func newProject(t *testing.T, files map[string]string) *project {
	t.Helper()
	p := &project{t: t, dir: t.TempDir(), store: t.TempDir()}
	for name, data := range files {
		p.write(name, data)
	}
	return p
}

func (p *project) write(name, data string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		p.t.Fatal(err)
	}
	// Old enough for the stat index to be trusted.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) options() Options {
	return Options{Context: p.dir, Store: p.store, Now: time.Unix(1700000000, 0), Progress: func(e Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, e)
	}}
}

func (p *project) build(change func(*Options)) *Image {
	p.t.Helper()
	img, err := p.try(change)
	if err != nil {
		p.t.Fatal(err)
	}
	return img
}

func (p *project) try(change func(*Options)) (*Image, error) {
	p.mu.Lock()
	p.events = nil
	p.mu.Unlock()
	o := p.options()
	if change != nil {
		change(&o)
	}
	res, err := Build(context.Background(), o)
	if err != nil {
		return nil, err
	}
	return res.Images[0], nil
}

// did names the steps that were worked on, and not answered by the cache.
func (p *project) did() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.events {
		if e.Kind == "done" && !strings.Contains(e.Name, "FROM") {
			_, what, _ := strings.Cut(e.Name, "] ")
			out = append(out, what)
		}
	}
	slices.Sort(out)
	return out
}

// logs is what the commands printed.
func (p *project) logs() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, e := range p.events {
		if e.Kind == "log" {
			b.Write(e.Data)
		}
	}
	return b.String()
}

// files returns the merged files of an image with their content.
func files(t *testing.T, img *Image) map[string]string {
	t.Helper()
	v := layer.NewView(img.Layers)
	out := map[string]string{}
	var walk func(string)
	walk = func(dir string) {
		entries, err := v.ReadDir(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			switch e.Type {
			case layer.Directory:
				walk(e.Name)
			case layer.Regular:
				r, err := v.Open(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(r)
				r.Close()
				if err != nil {
					t.Fatal(err)
				}
				out[e.Name] = string(data)
			}
		}
	}
	walk(".")
	return out
}

func config2(t *testing.T, img *Image) dockerspec.DockerOCIImage {
	t.Helper()
	var c dockerspec.DockerOCIImage
	if err := json.Unmarshal(img.Config, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuildCopiesWhatTheIgnoreFileLeaves(t *testing.T) {
	p := newProject(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY . /app/\nENV A=1\n", ".dockerignore": "no*\n!nose\n", "yes": "y", "no": "n", "nose": "s", "d/f": "f",
	})
	img := p.build(func(o *Options) { o.Tags = []string{"one", "reg.example/two:x"} })
	want := map[string]string{"app/Dockerfile": "FROM scratch\nCOPY . /app/\nENV A=1\n", "app/.dockerignore": "no*\n!nose\n", "app/yes": "y", "app/nose": "s", "app/d/f": "f"}
	if got := files(t, img); !maps.Equal(got, want) {
		t.Errorf("files %v", got)
	}
	c := config2(t, img)
	if !slices.Contains(c.Config.Env, "A=1") || len(c.RootFS.DiffIDs) != 1 || len(c.History) != 2 {
		t.Errorf("config %s", img.Config)
	}
	d, err := cache.OpenDir(p.store)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"docker.io/library/one:latest", "reg.example/two:x"} {
		if got, err := d.Resolve(name); err != nil || got.Digest != img.Descriptor.Digest {
			t.Errorf("tag %s: %v, %v", name, got.Digest, err)
		}
	}
}

func TestBuildAgainDoesNothingAndYieldsTheSame(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nWORKDIR /w\nCOPY a b /x/\nCOPY c /c\n", "a": "1", "b": "2", "c": "3"})
	first := p.build(nil)
	if got := p.did(); len(got) != 3 {
		t.Errorf("did %v", got)
	}
	again := p.build(func(o *Options) { o.Now = o.Now.Add(time.Hour) })
	if got := p.did(); len(got) != 0 {
		t.Errorf("did %v again", got)
	}
	if again.Descriptor.Digest != first.Descriptor.Digest {
		t.Error("the cached image is another image")
	}
	p.write("b", "changed")
	p.build(nil)
	if got := p.did(); !slices.Equal(got, []string{"COPY a b /x/", "COPY c /c"}) {
		t.Errorf("after a change of b did %v", got)
	}
	p.build(func(o *Options) { o.NoCache = true })
	if got := p.did(); len(got) != 2 { // WORKDIR has nothing that could change
		t.Errorf("without the cache did %v", got)
	}
}

func TestContentDecidesAndNotTime(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"})
	p.build(nil)
	now := time.Now().Add(-time.Minute)
	if err := os.Chtimes(filepath.Join(p.dir, "a"), now, now); err != nil {
		t.Fatal(err)
	}
	p.build(nil)
	if got := p.did(); len(got) != 0 {
		t.Errorf("a new time made it do %v", got)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(filepath.Join(p.dir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.build(nil)
	if got := p.did(); len(got) != 1 {
		t.Errorf("a new mode made it do %v", got)
	}
}

func TestCopyFromAStageThatYieldsTheSameIsNotRepeated(t *testing.T) {
	p := newProject(t, map[string]string{
		"Dockerfile": "FROM scratch AS one\nCOPY a b /\nFROM scratch\nCOPY --from=one /a /a\n", "a": "1", "b": "2",
	})
	p.build(nil)
	p.write("b", "other")
	p.build(nil)
	if got := p.did(); !slices.Equal(got, []string{"COPY a b /"}) {
		t.Errorf("did %v", got)
	}
}

func TestDamagedStoreIsMended(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"})
	first := p.build(nil)
	blobs, err := filepath.Glob(filepath.Join(p.store, "blobs/sha256/*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(err, blobs)
	}
	for _, b := range blobs {
		if err := os.Remove(b); err != nil {
			t.Fatal(err)
		}
	}
	again := p.build(nil)
	if again.Descriptor.Digest != first.Descriptor.Digest || len(p.did()) != 1 {
		t.Errorf("digest %s, did %v", again.Descriptor.Digest, p.did())
	}
}

func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		dockerfile string
		change     func(*Options)
		at, says   string
	}{
		"missing file":    {"FROM scratch\nCOPY nope /\n", nil, "Dockerfile:2", `"/nope": not found`},
		"ignored file":    {"FROM scratch\nCOPY ignored /\n", nil, "Dockerfile:2", `"/ignored": not found`},
		"unknown stage":   {"FROM scratch\n", func(o *Options) { o.Target = "x" }, "", "x"},
		"no context":      {"", func(o *Options) { o.Context = "/nowhere" }, "", "there is no directory /nowhere"},
		"context is file": {"FROM scratch\n", func(o *Options) { o.Context += "/Dockerfile" }, "", "is not a directory"},
		"no Dockerfile":   {"", func(o *Options) { o.Dockerfile = o.Context + "/Other" }, "", "Other; name it with -f"},
		"huge Dockerfile": {strings.Repeat("#\n", maxDockerfile), nil, "", "/Dockerfile: more than 16777216 bytes"},
		"many layers":     {"FROM scratch\nCOPY a /\nCOPY a /b\n", func(o *Options) { o.Bounds.Image.MaxLayers = 1 }, "Dockerfile:3", "2 layers, and an image may have 1"},
		"bad tag":         {"", func(o *Options) { o.Tags = []string{"A B"} }, "", `tag: "A B"`},
		"bad network":     {"", func(o *Options) { o.Network = "x" }, "", "network"},
		"no index":        {"", func(o *Options) { o.Annotations = []Annotation{{On: OnIndex, Key: "a"}} }, "", "annotation"},
		"unknown user":    {"FROM scratch\nCOPY --chown=app a /\n", nil, "Dockerfile:2", `user "app" is not in /etc/passwd`},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, map[string]string{"Dockerfile": tc.dockerfile, ".dockerignore": "ignored\n", "ignored": "", "a": ""})
			_, err := p.try(tc.change)
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v, want one line with %q", err, tc.says)
			}
			var le *Error
			if tc.at != "" && (!errors.As(err, &le) || le.Span.String() != tc.at) {
				t.Errorf("error %q has no place %s", err, tc.at)
			}
		})
	}
}

func TestLinksOutOfTheContextAreNotFollowed(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("S3CR3T"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
		p := newProject(t, map[string]string{"other": "FROM scratch\n"})
		if name != "Dockerfile" {
			p.write("Dockerfile", "FROM scratch\nCOPY . /\n")
		}
		if err := os.Symlink(secret, filepath.Join(p.dir, name)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
		if _, err := p.try(nil); err == nil || strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestCancelledBuildLeavesNoImage(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := p.options()
	o.Tags = []string{"x"}
	if _, err := Build(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	d, err := cache.OpenDir(p.store)
	if err != nil {
		t.Fatal(err)
	}
	if tags, _ := d.Tags(); len(tags) != 0 {
		t.Errorf("tags %v", tags)
	}
	if left, _ := os.ReadDir(filepath.Join(p.store, "tmp")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// needRun skips where no worker can run commands, and gives the project a
// busybox to stand on.
func (p *project) needRun() {
	p.t.Helper()
	box := "/bin/busybox"
	if _, err := os.Stat(box); err != nil {
		p.t.Skip("SKIPPED: RUN needs /bin/busybox (Debian's busybox-static)")
	}
	c, err := worker.Start(context.Background(), worker.Options{Store: p.store})
	if err != nil {
		p.t.Skipf("SKIPPED: no commands can be run here: %v", err)
	}
	c.Close()
	data, err := os.ReadFile(box)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("busybox", string(data))
}

const onBusybox = "FROM scratch AS box\nCOPY --chmod=755 busybox /bin/busybox\nSHELL [\"/bin/busybox\",\"sh\",\"-c\"]\n"

func TestRun(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("a", "from the context\n")
	p.write("Dockerfile", onBusybox+`COPY a /a
RUN /bin/busybox cat /a >/b && /bin/busybox rm /a
RUN --mount=type=bind,target=/ctx /bin/busybox cat /ctx/a >/c
RUN --mount=type=tmpfs,target=/t echo x >/t/x
RUN --network=none /bin/busybox ls /sys/class/net | /bin/busybox grep -v lo; test -e /etc/resolv.conf
`)
	img := p.build(nil)
	got := files(t, img)
	delete(got, "bin/busybox")
	if want := map[string]string{"b": "from the context\n", "c": "from the context\n"}; !maps.Equal(got, want) {
		t.Errorf("files %v", got)
	}
	p.build(nil)
	if did := p.did(); len(did) != 0 {
		t.Errorf("did %v again", did)
	}
}

func TestFailingRun(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN echo before; echo oops >&2; exit 7\n")
	_, err := p.try(nil)
	var ee *ExitError
	if !errors.As(err, &ee) || ee.Code != 7 || !strings.Contains(string(ee.Output), "oops") {
		t.Errorf("error %v", err)
	}
	var le *Error
	if !errors.As(err, &le) || le.Span.String() != "Dockerfile:4" {
		t.Errorf("error %v has no place", err)
	}
}

func TestSecretsAreSeenAndNotKept(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN --mount=type=secret,id=k,env=K,required=true --mount=type=secret,id=k test \"$(/bin/busybox cat /run/secrets/k)\" = \"$K\" && echo ${#K} >/len\n")
	secret := Secret{ID: "k", Value: func() ([]byte, error) { return []byte("S3CR3T-value"), nil }}
	img := p.build(func(o *Options) { o.Secrets = []Secret{secret} })
	if got := files(t, img)["len"]; got != "12\n" {
		t.Errorf("the step saw %q", got)
	}
	if grep(t, p.store, "S3CR3T") {
		t.Error("the secret is in the store")
	}
	if _, err := p.try(func(o *Options) { o.NoCache = true }); err == nil || !strings.Contains(err.Error(), `secret "k" is required`) {
		t.Errorf("without the secret: %v", err)
	}
}

// grep tells whether a file below dir holds s.
func grep(t *testing.T, dir, s string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || strings.Contains(string(data), s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTwoBuildsAtOnceDoTheWorkOnce(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN --mount=type=cache,target=/n echo ran >>/n/n; /bin/busybox sleep 1\n")
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := p.try(nil); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	p.write("Dockerfile", onBusybox+"RUN --mount=type=cache,target=/n /bin/busybox cat /n/n\n")
	p.build(nil)
	if got := p.logs(); got != "ran\n" {
		t.Errorf("the step ran so often:\n%s", got)
	}
}
