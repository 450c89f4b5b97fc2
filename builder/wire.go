package builder

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/frontend"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/solve"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/source/local"
	"github.com/ocibuild/ocibuild/internal/source/wait"
	"github.com/ocibuild/ocibuild/internal/worker"
	"github.com/ocibuild/ocibuild/layer"
)

// build is one call of Build: the parts and what they share.
type build struct {
	o      Options
	parent context.Context // the caller's, only to tell an interruption
	ctx    context.Context
	stop   context.CancelFunc
	names  []string
	dir    *cache.Dir
	faces  *faces.Store
	images *source.Images

	mu       sync.Mutex
	resolved map[string]func() (*source.Image, error)
	locals   map[localID]*local.Dir
	indexes  map[string]*local.Index // by directory
	dirs     map[string]string       // directories of named contexts, by their name in the graph
	layouts  map[digest.Digest]bool  // images of OCI layouts
	imports  []func() error          // bring them into the store again
	remotes  remotes
	main     mainContext
	contexts map[string]string // the named contexts as the frontend wants them
	warned   map[frontend.Warning]bool
	worker   *worker.Client
	agents   *agents
	mask     *progress.Masker      // in front of whoever is told what happens
	broken   atomic.Pointer[error] // Progress panicked
	before   traffic
	bare     bool // a graph without a Dockerfile

	closeRegistries func() // nil if they are the caller's
}

func newBuild(ctx context.Context, o Options) (*build, error) {
	b := &build{o: o, parent: ctx, resolved: map[string]func() (*source.Image, error){}, locals: map[localID]*local.Dir{},
		indexes: map[string]*local.Index{}, dirs: map[string]string{}, layouts: map[digest.Digest]bool{}, warned: map[frontend.Warning]bool{}}
	var err error
	if b.names, err = o.names(); err != nil {
		return nil, err
	}
	var notice string
	if b.o.Store == "" {
		if b.o.Store, notice, err = cache.DefaultDir(); err != nil {
			return nil, err
		}
	}
	if b.dir, err = cache.OpenDir(b.o.Store); err != nil {
		return nil, err
	}
	if b.o.Registries == nil {
		b.o.Registries = &Registries{}
		b.closeRegistries = b.o.Registries.Close
	}
	b.before = b.traffic()
	if b.o.Now.IsZero() {
		b.o.Now = time.Now()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	b.stop = func() { cancel(nil) }
	b.mask = progress.NewMasker(guardProgress(ctx, o.Progress, func(err error) { b.broken.CompareAndSwap(nil, &err); cancel(err) }))
	b.o.Progress = b.mask.Event
	b.notice(notice)
	b.ctx = wait.With(ctx, b.notice)
	b.faces = b.newFaces()
	b.dir.OnDamage = func(e *cache.DamagedError) { b.notice(e.Error() + "; it was set aside and will be made again") }
	b.images = &source.Images{Store: b.faces, Registries: b.o.Registries, Limits: o.Bounds.Image}
	if b.agents, err = openAgents(b.ctx, o.SSH); err != nil {
		b.stop()
		return nil, err
	}
	b.remotes = b.newRemotes()
	return b, nil
}

// close ends what the build started and keeps what it learned.
func (b *build) close() error {
	b.stop()
	var errs []error
	if b.worker != nil {
		errs = append(errs, b.worker.Close())
	}
	errs = append(errs, b.sweep())
	for _, l := range b.locals {
		errs = append(errs, l.Close())
	}
	errs = append(errs, b.remotes.close(), b.agents.close())
	if b.closeRegistries != nil {
		b.closeRegistries()
	}
	if b.main.temp != "" {
		errs = append(errs, os.RemoveAll(b.main.temp))
	}
	for _, x := range b.indexes {
		if b.parent.Err() == nil {
			errs = append(errs, x.Save(b.dir.TempFile))
		}
	}
	return failure.Join(errs...)
}

// open looks at all contexts.
func (b *build) open() error {
	if err := b.openContext(); err != nil {
		return err
	}
	var err error
	b.contexts, err = b.namedContexts()
	return err
}

// frontend returns what the frontend wants to know, for one platform.
func (b *build) frontend(p ocispec.Platform) frontend.Options {
	fo := frontend.Options{
		Files: b.file, Filename: b.dockerfileName(), Target: b.o.Target, Args: b.o.Args, Labels: b.o.Labels,
		Run: b.o.run(), Platform: p, MultiPlatform: b.o.multiPlatform(), Images: b, Warn: b.warn,
		Context: b.main.url, Contexts: b.contexts, LocalDockerfile: b.o.DockerfileData != nil, Solve: b.solveContext, Modified: b.remotes.modified,
	}
	switch {
	case b.o.NoCache:
		fo.NoCache = []string{}
	case len(b.o.NoCacheFilter) > 0:
		fo.NoCache = b.o.NoCacheFilter
	}
	if b.o.Network != "default" {
		fo.Network = b.o.Network
	}
	return fo
}

// ResolveImage implements frontend.ImageResolver.
func (b *build) ResolveImage(ctx context.Context, ref string, p ocispec.Platform) (digest.Digest, []byte, error) {
	img, err := b.resolve(ctx, ref, p)
	if err != nil {
		return "", nil, err
	}
	return img.Digest, img.Config, nil
}

// resolve resolves an image for a platform, once in a build: the frontend asks
// for the name, the solver for the name with the digest that it got.
func (b *build) resolve(_ context.Context, ref string, p ocispec.Platform) (*source.Image, error) {
	on := " for " + platforms.FormatAll(platforms.Normalize(p))
	b.mu.Lock()
	find := b.resolved[ref+on]
	if find == nil {
		find = sync.OnceValues(func() (*source.Image, error) { return b.ask(ref, p) })
		b.resolved[ref+on] = find
	}
	b.mu.Unlock()
	img, err := find()
	if err == nil {
		b.mu.Lock()
		b.resolved[ref+"@"+img.Digest.String()+on] = find
		b.mu.Unlock()
	}
	return img, err
}

// ask looks for an image in the store and in its registry, as the options say.
func (b *build) ask(ref string, p ocispec.Platform) (*source.Image, error) {
	mode := source.PreferLocal
	if b.o.Pull {
		mode = source.Pull
	}
	if _, d, ok := strings.Cut(ref, "@"); ok && b.layouts[digest.Digest(d)] {
		mode = source.LocalOnly
	}
	return b.images.Resolve(b.ctx, ref, p, mode)
}

func (b *build) warn(w frontend.Warning) {
	if b.o.Progress == nil || b.warned[w] {
		return
	}
	b.warned[w] = true // for the other platforms, too
	msg := w.Message
	if w.Rule != "" {
		msg = w.Rule + ": " + msg
	}
	if w.Line > 0 {
		msg += fmt.Sprintf(" (line %d)", w.Line)
	}
	b.o.Progress(Event{Time: time.Now(), Kind: "warn", Data: []byte(msg)})
}

func (b *build) solver() *solve.Solver {
	s := &solve.Solver{
		Faces: b.faces, Image: b.resolve, Layer: b.layer, Local: b.local, Remote: b.remotes.find, Worker: b.startWorker, Secret: b.secret,
		Progress: b.o.Progress, Jobs: int64(b.o.Jobs), Now: b.o.Now,
	}
	s.NameSteps = b.bare
	s.ResolvConf, s.NoCommands = sandbox.ResolvConf(), b.o.Isolation == worker.IsolationNone
	s.Streams = b.o.Streams
	s.MaxLayers = b.o.Bounds.Image.OrDefault().MaxLayers
	s.SSH, s.Insecure, s.Pids = b.agents.serve, slices.Contains(b.o.Allow, AllowInsecure), b.o.Limits.Pids
	for _, v := range b.o.Volumes {
		s.HostMounts = append(s.HostMounts, worker.Mount{Type: "host", Source: v.Source, Target: v.Target, ReadOnly: true})
	}
	return s
}

// layer finds a layer of a record. One whose blob is neither here nor to be
// had from a registry is an error, and the record a miss.
func (b *build) layer(l cache.Layer) (*layer.Layer, error) {
	if b.faces.Has(l) {
		return b.faces.Local(l), nil
	}
	if l.Origin == "" {
		return nil, fmt.Errorf("layer %s: its blob is gone", l.Digest)
	}
	return b.images.Layer(l)
}

// localID names a build context and the patterns that it is opened with.
type localID struct{ name, exclude, include string }

// local opens the build context with the patterns that a step of the graph
// carries; all steps mostly carry the same.
func (b *build) local(op *graph.Local) (*local.Dir, error) {
	dir, err := b.contextDir(op.Name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id := localID{op.Name, strings.Join(op.Exclude, "\x00"), strings.Join(op.Include, "\x00")} // no pattern has such a byte
	if l := b.locals[id]; l != nil {
		return l, nil
	}
	index, err := b.statIndex(dir)
	if err != nil {
		return nil, err
	}
	l, err := local.Open(dir, op.Exclude, op.Include, index)
	if err != nil {
		return nil, err
	}
	b.locals[id] = l
	return l, nil
}

func (b *build) startWorker(context.Context) (*worker.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.worker != nil {
		return b.worker, nil
	}
	// The worker outlives the step that asked for it first.
	c, err := worker.Start(b.ctx, worker.Options{Store: b.dir.Path(), Isolation: b.o.Isolation, Runtime: b.o.Runtime, Program: b.o.Worker, Limits: b.o.Bounds.Layer})
	if err != nil {
		return nil, err
	}
	b.worker = c
	b.notice(worker.Notice(c.Isolation))
	return c, nil
}

// sweep starts a worker when one that was killed, of this build or of another,
// has left something: much of it can be removed by nobody else. Where no worker
// can be had, it waits for a build that needs one.
func (b *build) sweep() error {
	if b.o.Isolation == worker.IsolationNone || b.parent.Err() != nil || !worker.Remains(b.dir) {
		return nil
	}
	c, err := worker.Start(b.parent, worker.Options{Store: b.dir.Path(), Isolation: b.o.Isolation, Program: b.o.Worker})
	if err != nil {
		return nil
	}
	return c.Close()
}

// notice tells something about the build as a whole, if there is something to tell.
func (b *build) notice(text string) {
	if text != "" {
		b.o.Progress(Event{Time: time.Now(), Kind: "warn", Data: []byte(text)})
	}
}

func (b *build) secret(id string) ([]byte, bool, error) {
	for _, s := range b.o.Secrets {
		if s.ID == id {
			v, err := failure.Await(b.ctx, "Secret.Value of "+strconv.Quote(id), s.Value)
			b.mask.Learn(v)
			return v, err == nil, err
		}
	}
	return nil, false, nil
}
