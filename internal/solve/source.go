package solve

import (
	"context"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/plan"
	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/layer"
)

func platformOf(step *graph.Step) *ocispec.Platform {
	if step.Platform != nil {
		return step.Platform
	}
	p := platforms.Normalize(platforms.DefaultSpec())
	return &p
}

// image returns the layers of a base image; none of their bytes are pulled.
func (s *Solver) image(ctx context.Context, step *graph.Step, op *graph.Image) ([][]Layer, error) {
	s.event(step, progress.Event{Kind: "start"})
	img, err := s.Image(ctx, op.Ref, *platformOf(step))
	if err != nil {
		s.event(step, progress.Event{Kind: "error", Error: err.Error()})
		return nil, located(step, err)
	}
	s.event(step, progress.Event{Kind: "done"})
	var out pile
	for _, l := range img.Layers {
		out.put(l, time.Time{})
	}
	if op.LayerLimit > 0 && op.LayerLimit < len(out) {
		out = out[:op.LayerLimit]
	}
	return [][]Layer{out}, nil
}

// merge lays its inputs over each other: nothing but a list of layers.
func (s *Solver) merge(ctx context.Context, step *graph.Step) ([][]Layer, error) {
	ins, err := s.outputs(ctx, step.Inputs, func(int) bool { return true })
	if err != nil {
		return nil, err
	}
	var out []Layer
	for _, in := range ins {
		out = append(out, in...)
	}
	return [][]Layer{out}, nil
}

// filesJob makes one layer of all files of a directory, a download or a
// checkout, for a mount of it.
type filesJob struct {
	s    *Solver
	tree layer.Tree
}

func (s *Solver) prepareFiles(ctx context.Context, step *graph.Step) (*filesJob, error) {
	tree, err := s.open(ctx, step)
	return &filesJob{s: s, tree: tree}, err
}

func (j *filesJob) plan(ctx context.Context) (*plan.Tree, error) {
	t := plan.New(nil, plan.Options{Now: j.s.Now})
	whole := &graph.Copy{Src: "/", Dest: "/", DirContents: true, Mode: -1, Timestamp: -1, CreateDestPath: true}
	return t, t.Copy(ctx, j.tree, whole, nil)
}

func (j *filesJob) contentKey(ctx context.Context) (key, error) {
	t, err := j.plan(ctx)
	if err != nil {
		return key{}, err
	}
	d, err := t.Digest(ctx)
	if err != nil {
		return key{}, err
	}
	h := cache.NewHasher("local")
	h.Add("version", keyVersion)
	h.Add("files", d.String())
	return sum(h), nil
}

func (j *filesJob) run(ctx context.Context, _ Previous) ([][]Layer, error) {
	t, err := j.plan(ctx)
	if err != nil {
		return nil, err
	}
	l, err := j.s.Faces.Create(ctx, faces.CreateOptions{}, func(w *layer.Writer) error { return t.Emit(ctx, w) })
	if err != nil {
		return nil, err
	}
	j.s.mu.Lock()
	j.s.mounted = append(j.s.mounted, l)
	j.s.mu.Unlock()
	return [][]Layer{lay(nil, l, j.s.Now)}, nil
}
