//go:build linux

package threats

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/worker"
	"github.com/ocibuild/ocibuild/layer"
)

// place is where an attack is tried: a store, a build context and a registry
// of the attacker's, and beside them files of the host.
type place struct {
	t                   *testing.T
	dir, store, context string
	host                *canary
	hub                 *hub
	change              func(*builder.Options) // of every build here

	mu   sync.Mutex
	said []builder.Event
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), hub: newHub(t)}
	p.store, p.context = filepath.Join(p.dir, "store"), filepath.Join(p.dir, "context")
	must(t, os.MkdirAll(p.context, 0o755))
	tmp := filepath.Join(p.dir, "tmp")
	must(t, os.Mkdir(tmp, 0o700))
	t.Setenv("TMPDIR", tmp)
	p.host = newCanary(t, filepath.Join(p.dir, "host"))
	t.Cleanup(p.clean)
	return p
}

// clean wants the host as it was and the store to work, and removes what
// sub-ids may own.
func (p *place) clean() {
	if !p.t.Skipped() {
		p.works()
		p.untouched()
	}
	if os.Getuid() != 0 {
		if c, err := worker.Start(context.Background(), worker.Options{Store: p.store}); err == nil {
			_ = c.RemoveAll(context.Background(), []string{filepath.Join(p.store, "trees"), filepath.Join(p.store, "mounts")}) // what is left shows below
			_ = c.Close()
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.t.Error(err)
	}
}

// untouched wants nothing changed but the store and the context.
func (p *place) untouched() {
	p.t.Helper()
	p.host.untouched()
	nothingLeft(p.t, p.dir, filepath.Join(p.store, "tmp"), filepath.Join(p.dir, "tmp"))
	entries, err := os.ReadDir(p.dir)
	must(p.t, err)
	for _, e := range entries {
		if !slices.Contains([]string{"store", "context", "tmp", "host", "out"}, e.Name()) {
			p.t.Errorf("%s appeared beside the store", e.Name())
		}
	}
}

// write makes a file of the build context.
func (p *place) write(name, data string) {
	p.t.Helper()
	path := filepath.Join(p.context, name)
	must(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(p.t, os.WriteFile(path, []byte(data), 0o644))
}

// fake replaces what the text says of the place: HUB is the registry's host,
// HOST the path of the canary.
func (p *place) fake(text string) string {
	return strings.NewReplacer("$HUB", p.hub.host, "$HOST", p.host.dir).Replace(text)
}

// try builds a Dockerfile.
func (p *place) try(dockerfile string, change ...func(*builder.Options)) (*result, error) {
	p.t.Helper()
	o := builder.Options{
		Context: p.context, DockerfileData: []byte(p.fake(dockerfile)), Store: p.store,
		Registries: &builder.Registries{Keychain: authn.NewMultiKeychain(), RetryDelay: time.Millisecond}, Progress: p.hear,
		Isolation: isolation, Runtime: ociRuntime,
	}
	for _, f := range append([]func(*builder.Options){p.change}, change...) {
		if f != nil {
			f(&o)
		}
	}
	p.mu.Lock()
	p.said = nil
	p.mu.Unlock()
	res, err := builder.Build(context.Background(), o) // the test's own has ended when it is cleaned up
	if err != nil {
		return nil, err
	}
	return &result{p: p, img: res.Images[0], view: layer.NewView(res.Images[0].Layers)}, nil
}

func (p *place) hear(e builder.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, e)
}

// printed is what the commands of the last build printed.
func (p *place) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, e := range p.said {
		if e.Kind == "log" {
			b.Write(e.Data)
		}
	}
	return b.String()
}

// refused wants a build to fail with one line that holds all of the words, and
// nothing to come of it.
func (p *place) refused(dockerfile string, words ...string) {
	p.t.Helper()
	_, err := p.try(dockerfile)
	p.refusal(err, words...)
}

func (p *place) refusal(err error, words ...string) {
	p.t.Helper()
	if err == nil {
		p.t.Errorf("it was accepted; wanted %q", words)
		return
	}
	p.oneLine(err.Error(), words...)
	p.untouched()
}

// oneLine wants a complaint that a person can read: short, one line, without
// anything of our own program, and nothing of the host.
func (p *place) oneLine(msg string, words ...string) {
	p.t.Helper()
	if strings.ContainsAny(msg, "\n\r\x1b\x00") || len(msg) > 2000 {
		p.t.Errorf("no plain line: %.3000q", msg)
	}
	for _, bad := range []string{"goroutine ", "panic", "runtime error", secret} {
		if strings.Contains(msg, bad) {
			p.t.Errorf("the error says %q: %s", bad, msg)
		}
	}
	for _, w := range words {
		if w = p.fake(w); !strings.Contains(msg, w) {
			p.t.Errorf("the error does not say %q: %s", w, msg)
		}
	}
}

// works wants the store to serve the next build.
func (p *place) works() {
	p.t.Helper()
	p.change, p.context = nil, filepath.Join(p.dir, "out", "works")
	p.write("works", "works")
	got, err := p.try("FROM scratch\nCOPY works /works\n")
	if err != nil {
		p.t.Errorf("the next build fails: %v", err)
		return
	}
	got.holds("works", "works")
}

// accepted wants a build to work.
func (p *place) accepted(dockerfile string, change ...func(*builder.Options)) *result {
	p.t.Helper()
	got, err := p.try(dockerfile, change...)
	if err != nil {
		p.t.Fatalf("it was refused: %v\n%s", err, p.printed())
	}
	return got
}

// result is an image that was built.
type result struct {
	p    *place
	img  *builder.Image
	view *layer.View
}

// entry returns what the image has at a name.
func (r *result) entry(name string) layer.Entry {
	r.p.t.Helper()
	e, err := r.view.Lookup(context.Background(), name)
	if err != nil {
		r.p.t.Fatal(err)
	}
	return e
}

// read returns the content of a file of the image.
func (r *result) read(name string) string {
	r.p.t.Helper()
	f, err := r.view.Open(context.Background(), r.entry(name))
	must(r.p.t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	must(r.p.t, err)
	return string(data)
}

func (r *result) holds(name, content string) {
	r.p.t.Helper()
	if got := r.read(name); got != content {
		r.p.t.Errorf("%s holds %.100q, not %.100q", name, got, content)
	}
}

func (r *result) lacks(name string) {
	r.p.t.Helper()
	if e, err := r.view.Lookup(context.Background(), name); !errors.Is(err, fs.ErrNotExist) {
		r.p.t.Errorf("%s is there: %+v, %v", name, e, err)
	}
}

// canRun tells why commands cannot be run here, if so.
var canRun = sync.OnceValue(func() error {
	if _, err := staticBusybox(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(temporary, "probe-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := worker.Start(context.Background(), worker.Options{Store: dir, Isolation: isolation, Runtime: ociRuntime})
	if err != nil {
		return err
	}
	return c.Close()
})

// needsRun skips a test where no commands can be run.
func needsRun(t *testing.T) {
	t.Helper()
	if err := canRun(); err != nil {
		t.Skipf("SKIPPED: no commands can be run here: %v", err)
	}
}

// outcome is what a call of the program came to.
type outcome struct {
	code           int
	stdout, stderr string
}

// call runs the program itself.
func (p *place) call(args ...string) outcome {
	p.t.Helper()
	return p.callWith(nil, args...)
}

func (p *place) callWith(change func(*exec.Cmd), args ...string) outcome {
	p.t.Helper()
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if change != nil {
		change(cmd)
	}
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		p.t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// command is a call of the program that is to be made.
func (p *place) command(args ...string) *exec.Cmd {
	p.t.Helper()
	if len(args) > 0 && args[0] == "build" {
		args = append([]string{"build", "--isolation", isolation, "--runtime", ociRuntime}, args[1:]...)
	}
	cmd := exec.CommandContext(p.t.Context(), program(p.t, commandLine), args...)
	cmd.Env = append(os.Environ(), "OCIBUILD_STORE="+p.store, "DOCKER_CONFIG="+filepath.Join(p.dir, "tmp"))
	cmd.Dir = p.context
	return cmd
}

// last is the last line of what the program complained about.
func (o outcome) last() string {
	lines := strings.Split(strings.TrimRight(o.stderr, "\n"), "\n")
	return lines[len(lines)-1]
}

// fails wants the program to end with a code and one line that holds the words.
func (p *place) fails(o outcome, code int, words ...string) {
	p.t.Helper()
	if o.code != code {
		p.t.Errorf("exit code %d, not %d\n%s", o.code, code, o.stderr)
	}
	if strings.Contains(o.stdout+o.stderr, "goroutine ") {
		p.t.Errorf("it panics:\n%s", o.stderr)
	}
	p.oneLine(o.last(), words...)
	p.untouched()
}

// emptyStore forgets all that was built and seen, none of which was run.
func (p *place) emptyStore() {
	p.t.Helper()
	must(p.t, os.RemoveAll(p.store))
}

// openStore opens the store of the place as the builder does.
func (p *place) openStore() *cache.Dir {
	p.t.Helper()
	d, err := cache.OpenDir(p.store)
	must(p.t, err)
	return d
}

// inside is where a file of the canary would lie within an image.
func (p *place) inside(name string) string {
	return strings.TrimPrefix(p.host.dir, "/") + "/" + name
}

// part runs a part of a test under a name.
func (p *place) part(name string, f func()) {
	p.t.Helper()
	p.t.Run(name, func(t *testing.T) {
		outer := p.t
		defer func() { p.t = outer }()
		p.t = t
		f()
	})
}
