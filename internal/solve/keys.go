package solve

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/platforms"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// key is what a step is known by in the cache, and what it was made of.
type key struct {
	key   cache.Key
	parts []cache.Part
}

// shape is what is known of a step without looking at anything outside the
// graph: the same step of an earlier version of a Dockerfile has the same one.
type shape struct {
	key cache.Key
	// fresh tells that the step or one below it must be done anew, so that its
	// definition says nothing about the result.
	fresh bool
}

// outline finds the shape of a step, whose inputs have theirs.
func (s *Solver) outline(step *graph.Step) error {
	h := newHasher("shape ", step)
	def, err := normalized(withoutVersion(step.Op))
	if err != nil {
		return err
	}
	if img, ok := step.Op.(*graph.Image); ok {
		def, _, _ = strings.Cut(img.Ref, "@")
	}
	h.Add("operation", def)
	out := shape{fresh: step.NoCache}
	for i, in := range step.Inputs {
		is := s.state(in.Step).shape
		h.Add("input "+strconv.Itoa(i), fmt.Sprintf("%s %d", is.key, in.Output))
		out.fresh = out.fresh || is.fresh
	}
	out.key, _ = h.Sum()
	s.state(step).shape = out
	return nil
}

// readsLocal tells whether a step copies files of a local directory, or of a
// checkout, whose digests nobody knows yet.
func readsLocal(step *graph.Step) bool {
	if _, ok := step.Op.(*graph.Exec); ok {
		return false // of what it mounts, layers are made first
	}
	for i, in := range step.Inputs {
		switch in.Step.Op.(type) {
		case *graph.Local, *graph.Git:
			if selects(step.Op, i) {
				return true
			}
		}
	}
	return false
}

// keyVersion changes when the meaning of a key does.
const keyVersion = "2"

// key returns the definition key of a step: known before anything runs.
func (s *Solver) key(ctx context.Context, step *graph.Step) (key, error) {
	return s.state(step).key.get(ctx, func(ctx context.Context) (key, error) {
		switch op := step.Op.(type) {
		case *graph.Image:
			return s.imageKey(ctx, step, op)
		case *graph.Local:
			return s.localKey(ctx, op)
		case *graph.HTTP, *graph.Git:
			return s.remoteKey(ctx, step)
		default:
			return s.stepKey(ctx, step)
		}
	})
}

func (s *Solver) stepKey(ctx context.Context, step *graph.Step) (key, error) {
	h := newHasher("", step)
	def, err := normalized(step.Op)
	if err != nil {
		return key{}, err
	}
	h.Add("operation", def)
	for i, in := range step.Inputs {
		name := "input " + strconv.Itoa(i)
		if local, ok := in.Step.Op.(*graph.Local); ok && selects(step.Op, i) {
			d, err := s.selected(ctx, step, i, func() (layer.Tree, error) { return s.Local(local) })
			if err != nil {
				return key{}, err
			}
			h.Add(name+" files", d.String())
			continue
		}
		ik, err := s.key(ctx, in.Step)
		if err != nil {
			return key{}, err
		}
		h.Add(name, fmt.Sprintf("%s %d", ik.key, in.Output))
	}
	return sum(h), nil
}

func newHasher(prefix string, step *graph.Step) *cache.Hasher {
	h := cache.NewHasher(prefix + step.Op.Kind())
	h.Add("version", keyVersion)
	if step.Platform != nil {
		h.Add("platform", platforms.FormatAll(*step.Platform))
	}
	return h
}

func sum(h *cache.Hasher) key {
	k := key{}
	k.key, k.parts = h.Sum()
	return k
}

// normalized is an operation without what must not make a difference: proxies
// and credentials.
func normalized(op graph.Op) (string, error) {
	op = withoutSecrets(op)
	data, err := json.Marshal(op)
	if err != nil {
		return "", err
	}
	if f, ok := op.(*graph.File); ok { // the kinds of actions are not in the JSON
		for _, a := range f.Actions {
			data = fmt.Appendf(data, " %T", a.Do)
		}
	}
	return string(data), nil
}

// imageKey is the digest of the manifest, which a reference mostly has.
func (s *Solver) imageKey(ctx context.Context, step *graph.Step, op *graph.Image) (key, error) {
	_, dgst, ok := strings.Cut(op.Ref, "@")
	if !ok {
		img, err := s.Image(ctx, op.Ref, *platformOf(step))
		if err != nil {
			return key{}, err
		}
		dgst = img.Digest.String()
	}
	h := newHasher("", step)
	h.Add("manifest", dgst)
	h.Add("layers", strconv.Itoa(op.LayerLimit))
	return sum(h), nil
}

// localKey is the content of a whole directory.
func (s *Solver) localKey(ctx context.Context, op *graph.Local) (key, error) {
	local, err := s.Local(op)
	if err != nil {
		return key{}, err
	}
	return (&filesJob{s: s, tree: local}).contentKey(ctx)
}
