// Package solve turns a graph into layers. It asks the cache from the result
// backwards, runs what is missing with independent steps side by side, and
// never touches a step that nobody needs. It knows nothing of Dockerfiles.
package solve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/forward"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/source/local"
	"github.com/ocibuild/ocibuild/internal/worker"
	"github.com/ocibuild/ocibuild/layer"
)

// Solver builds graphs, once. All fields but those that say so are required.
type Solver struct {
	Faces *faces.Store
	// Image resolves an image reference; nothing of its layers is pulled.
	Image func(ctx context.Context, ref string, p ocispec.Platform) (*source.Image, error)
	// Layer finds the layer of a record: in the store, or where it came from.
	Layer func(l cache.Layer) (*layer.Layer, error)
	// Local opens a directory of this machine by its name in the graph.
	Local func(op *graph.Local) (*local.Dir, error)
	// Remote finds what an HTTP or a Git operation means; nil if there are none.
	Remote func(op graph.Op) (Remote, error)
	// Worker starts the process that runs commands, the first time a step
	// needs it.
	Worker func(ctx context.Context) (*worker.Client, error)
	// Secret returns the value of a secret; ok is false if there is none.
	Secret func(id string) (value []byte, ok bool, err error)
	// SSH returns what serves an agent by its id, empty for the default one; nil
	// if it is not given.
	SSH func(id string) forward.Serve
	// NameSteps names the step in errors that no line of a Dockerfile stands for.
	NameSteps bool
	// NoCommands refuses every command, also one that is in the cache.
	NoCommands bool
	// Streams keeps what commands print to standard error apart from the rest, at
	// the price of their order.
	Streams bool
	// Insecure allows RUN --security=insecure.
	Insecure bool
	// Pids is how many processes a command may have; 0 is the default of
	// cgroup.Limits, -1 means no limit.
	Pids int64
	// MaxLayers is how many layers steps may put on each other; 0 means no bound.
	MaxLayers int
	// HostMounts are shown to every command, read-only.
	HostMounts []worker.Mount
	// ResolvConf is what a command finds in /etc/resolv.conf; nil leaves the image's.
	ResolvConf []byte
	// Ready is told of each layer of the results as soon as it is known, while
	// other steps still work; it may hear of one more than once. May be nil.
	Ready    func(ctx context.Context, l *layer.Layer) error
	Progress progress.Func // may be nil
	Jobs     int64         // steps that work at a time; 0 means 4
	Now      time.Time

	slots *semaphore.Weighted
	fail  context.CancelCauseFunc // ends all steps when one has failed
	mu    sync.Mutex
	steps map[digest.Digest]*state
	parts resultParts
	// blocks are the keys of the lists of layers that this solver has kept.
	blocks map[block]string
	stale  []string       // ids of the cache mounts of steps that are to be done anew
	fresh  once[struct{}] // they have begun anew
	tail   sync.WaitGroup // records that wait for their blobs
	errs   []error
	// mounted are layers that were made to be mounted.
	mounted []*layer.Layer
}

// state is what is known of a step: each part is found out once.
type state struct {
	shape  shape
	key    once[key]
	result once[[][]Layer]
	remote once[Remote]
	told   bool // its being cached was told
	// selections are the digests of what a file operation copies out of its
	// inputs; they are part of the definition key and of the content key.
	selections []once[digest.Digest]
}

// Solve returns the layers of each graph's result, lowest first; a step that
// several graphs have is done once. Compression of the last layers may still be
// under way; Wait ends it.
func (s *Solver) Solve(ctx context.Context, graphs ...*graph.Graph) ([][]Layer, error) {
	s.slots = semaphore.NewWeighted(max(s.Jobs, 1))
	if s.Jobs == 0 {
		s.slots = semaphore.NewWeighted(4)
	}
	s.steps, s.parts = map[digest.Digest]*state{}, resultParts{}
	for _, g := range graphs {
		if err := s.enter(g); err != nil {
			return nil, err
		}
	}
	// All work, compression in the background too, lives as long as ctx and not
	// as long as the step that began it.
	ctx, s.fail = context.WithCancelCause(ctx)
	results := make([][]Layer, len(graphs))
	for _, g := range graphs {
		if err := cmp.Or(s.bounded(g), s.permitted(g)); err != nil {
			return results, err
		}
	}
	var eg errgroup.Group
	for i, g := range graphs {
		if g.Result.Step == nil {
			continue
		}
		eg.Go(func() error {
			var err error
			results[i], err = s.output(ctx, g.Result)
			return err
		})
	}
	err := eg.Wait()
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx) // the first failure, not what it led to
	}
	return results, err
}

// enter takes the steps of a graph in.
func (s *Solver) enter(g *graph.Graph) error {
	for _, step := range g.Steps {
		if s.steps[step.ID] != nil {
			continue
		}
		s.steps[step.ID] = &state{selections: make([]once[digest.Digest], len(step.Inputs))}
		if err := s.outline(step); err != nil {
			return err
		}
	}
	s.parts.add(g.Result)
	return nil
}

func (s *Solver) state(step *graph.Step) *state { return s.steps[step.ID] }

// Wait returns when all layers are compressed and all records are kept.
func (s *Solver) Wait() error {
	s.tail.Wait()
	s.Faces.Wait()
	s.fail(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	return failure.Join(s.errs...)
}

// output returns the layers of one output of a step.
func (s *Solver) output(ctx context.Context, in graph.Input) ([]Layer, error) {
	outs, err := s.step(ctx, in.Step)
	if err != nil {
		return nil, err
	}
	if in.Output >= len(outs) {
		return nil, fmt.Errorf("step %q has no output %d", in.Step.Name, in.Output)
	}
	return outs[in.Output], nil
}

// outputs returns the layers of the given inputs, solved side by side.
func (s *Solver) outputs(ctx context.Context, inputs []graph.Input, want func(i int) bool) ([][]Layer, error) {
	outs := make([][]Layer, len(inputs))
	var eg errgroup.Group
	for i, in := range inputs {
		if !want(i) {
			continue
		}
		eg.Go(func() error {
			var err error
			outs[i], err = s.output(ctx, in)
			return err
		})
	}
	return outs, eg.Wait()
}

// step returns all outputs of a step, from the cache or by doing it.
func (s *Solver) step(ctx context.Context, step *graph.Step) ([][]Layer, error) {
	return s.state(step).result.get(ctx, func(ctx context.Context) ([][]Layer, error) {
		outs, err := s.perform(ctx, step)
		if err != nil {
			return nil, err
		}
		return outs, s.announce(ctx, step, outs)
	})
}

// perform does what a step's operation asks for.
func (s *Solver) perform(ctx context.Context, step *graph.Step) ([][]Layer, error) {
	var outs [][]Layer
	var err error
	switch op := step.Op.(type) {
	case *graph.Image:
		return s.image(ctx, step, op)
	case *graph.Merge:
		return s.merge(ctx, step)
	case *graph.Diff:
		outs, err = s.diff(ctx, step, op)
	default:
		outs, err = s.work(ctx, step)
	}
	if err != nil {
		if err = located(step, err); s.NameSteps {
			err = ofStep(step, err)
		}
		s.fail(err)
		s.tell(step, err)
		return nil, err
	}
	return outs, nil
}

// work answers a step from the cache or does it, in this order: the definition
// key, which needs nothing; the content key, which needs the inputs; the work.
//
// A step whose like was never seen cannot be in the cache under its definition.
// Then nothing is hashed only to find that out: files that a step copies are
// read once, and its keys are made of what the copying learned.
func (s *Solver) work(ctx context.Context, step *graph.Step) ([][]Layer, error) {
	st := s.state(step)
	seen := s.Faces.Dir.HasRecord(st.shape.key)
	if seen && !st.shape.fresh {
		def, err := s.key(ctx, step)
		if err != nil {
			return nil, err
		}
		if outs := s.lookup(ctx, step, def.key); outs != nil {
			s.cached(step)
			return outs, nil
		}
	}
	job, err := s.prepare(ctx, step)
	if err != nil {
		return nil, err
	}
	if !seen && readsLocal(step) {
		return s.doUnseen(ctx, step, job)
	}
	content, err := job.contentKey(ctx)
	if err != nil {
		return nil, err
	}
	return s.do(ctx, step, job, content.key)
}

// doUnseen works on a step that copies local files, under the lock of its
// shape, since its content is not known yet.
func (s *Solver) doUnseen(ctx context.Context, step *graph.Step, job job) ([][]Layer, error) {
	shape := s.state(step).shape.key
	unlock, err := s.Faces.Dir.Lock(ctx, "step "+shape.String())
	if err != nil {
		return nil, err
	}
	if !s.Faces.Dir.HasRecord(shape) {
		return s.run(ctx, step, job, unlock)
	}
	unlock() // another process has just done it: its record may be ours
	content, err := job.contentKey(ctx)
	if err != nil {
		return nil, err
	}
	return s.do(ctx, step, job, content.key)
}

// do works on a step whose content key is known, unless the cache has it or
// another process has just done the same.
func (s *Solver) do(ctx context.Context, step *graph.Step, job job, content cache.Key) ([][]Layer, error) {
	cached := func() [][]Layer {
		if step.NoCache {
			return nil
		}
		outs := s.lookup(ctx, step, content)
		if outs != nil {
			s.cached(step)
			s.keep(ctx, step, job, outs, func() {})
		}
		return outs
	}
	if outs := cached(); outs != nil {
		return outs, nil
	}
	unlock, err := s.Faces.Dir.Lock(ctx, "step "+content.String())
	if err != nil {
		return nil, err
	}
	if outs := cached(); outs != nil {
		unlock()
		return outs, nil
	}
	return s.run(ctx, step, job, unlock)
}

// run does the work and keeps what came out; then it calls unlock.
func (s *Solver) run(ctx context.Context, step *graph.Step, job job, unlock func()) ([][]Layer, error) {
	if err := s.slots.Acquire(ctx, 1); err != nil {
		unlock()
		return nil, err
	}
	defer s.slots.Release(1)
	s.event(step, progress.Event{Kind: "start"})
	outs, err := job.run(ctx, s.previous(ctx, s.state(step).shape.key))
	if err != nil {
		unlock()
		return nil, err
	}
	s.event(step, progress.Event{Kind: "done"})
	s.keep(ctx, step, job, outs, unlock)
	return outs, nil
}

// job is a step whose inputs are solved.
type job interface {
	// contentKey is the key of what would be done to what the inputs hold.
	contentKey(ctx context.Context) (key, error)
	// run does it. previous is a layer that an earlier run of the step made.
	run(ctx context.Context, previous Previous) ([][]Layer, error)
}

func (s *Solver) prepare(ctx context.Context, step *graph.Step) (job, error) {
	switch op := step.Op.(type) {
	case *graph.File:
		return s.prepareFile(ctx, step, op)
	case *graph.Exec:
		return s.prepareExec(ctx, step, op)
	case *graph.Diff:
		return s.prepareDiff(ctx, step, op)
	case *graph.Local, *graph.HTTP, *graph.Git:
		return s.prepareFiles(ctx, step)
	default:
		return nil, fmt.Errorf("operation %s cannot be done", step.Op.Kind())
	}
}

// located gives an error the place of its step, once.
func located(step *graph.Step, err error) error {
	var le *graph.LineError
	if errors.As(err, &le) || errors.Is(err, context.Canceled) {
		return err
	}
	if len(step.Source.Lines) == 0 {
		return err
	}
	return &graph.LineError{Span: step.Source, Err: err}
}

// once finds something out once, for all who ask.
type once[T any] struct {
	mu   sync.Mutex
	done bool
	val  T
	err  error
}

func (o *once[T]) get(ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		o.val, o.err = f(ctx)
		o.done = true
	}
	return o.val, o.err
}
