package solve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/plan"
	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/layer"
)

// fileJob plans a file operation over the views of its inputs and writes what
// changes as a layer: no mount, no unpacked base.
type fileJob struct {
	s      *Solver
	step   *graph.Step
	op     *graph.File
	inputs [][]Layer // of inputs that are layers
	trees  []layer.Tree
	plans  []*plan.Tree // to close
}

func (s *Solver) prepareFile(ctx context.Context, step *graph.Step, op *graph.File) (*fileJob, error) {
	j := &fileJob{s: s, step: step, op: op, trees: make([]layer.Tree, len(step.Inputs))}
	local := func(i int) bool {
		return isFiles(step.Inputs[i].Step.Op) && selects(op, i)
	}
	var err error
	if j.inputs, err = s.outputs(ctx, step.Inputs, func(i int) bool { return !local(i) }); err != nil {
		return nil, err
	}
	for i := range step.Inputs {
		if !local(i) {
			if err := prefetch(ctx, j.inputs[i]); err != nil {
				return nil, err
			}
			j.trees[i] = layer.NewView(plainLayers(j.inputs[i]))
			continue
		}
		if j.trees[i], err = s.files(ctx, step.Inputs[i].Step); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// prefetch makes the tables of contents of layers, several at once. A look-up
// of a name that is not there, which most destinations are, needs all of them.
func prefetch(ctx context.Context, layers []Layer) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, l := range layers {
		if l.HasTOC() {
			continue // as nearly all of many layers are
		}
		eg.Go(func() error {
			_, err := l.TOC(ctx)
			return err
		})
	}
	return eg.Wait()
}

func plainLayers(ls []Layer) []*layer.Layer {
	out := make([]*layer.Layer, len(ls))
	for i, l := range ls {
		out[i] = l.Layer
	}
	return out
}

// selects tells whether a file operation only copies out of its input i, or a
// command is only shown parts of it, so that not all of the input matters.
func selects(op graph.Op, i int) bool {
	if x, ok := op.(*graph.Exec); ok {
		return shows(x, i)
	}
	f, ok := op.(*graph.File)
	if !ok {
		return false
	}
	for _, a := range f.Actions {
		if a.Input == i {
			return false
		}
	}
	return true
}

// selected is the digest of what an operation copies, or sees, of one input,
// which src returns.
func (s *Solver) selected(ctx context.Context, step *graph.Step, input int, src func() (layer.Tree, error)) (digest.Digest, error) {
	return s.state(step).selections[input].get(ctx, func(ctx context.Context) (digest.Digest, error) {
		t, err := src()
		if err != nil {
			return "", err
		}
		if x, ok := step.Op.(*graph.Exec); ok {
			return shownOf(ctx, x, input, t)
		}
		return selection(ctx, step.Op.(*graph.File), input, t)
	})
}

// selection is the digest of what the actions copy out of one input.
func selection(ctx context.Context, f *graph.File, input int, src layer.Tree) (digest.Digest, error) {
	h := cache.NewHasher("selection")
	for i, a := range f.Actions {
		c, ok := a.Do.(*graph.Copy)
		if !ok || a.Source != input {
			continue
		}
		t := plan.New(nil, plan.Options{Now: time.Unix(0, 0), KeepArchives: true})
		// What is at the destination is not known here. In a directory, nothing
		// that a wildcard matches takes the place of another match.
		anywhere := *c
		anywhere.Dest, anywhere.CreateDestPath = "/selected/", true
		if err := t.Copy(ctx, src, &anywhere, nil); err != nil {
			return "", err
		}
		d, err := t.Digest(ctx)
		if err != nil {
			return "", err
		}
		h.Add("action "+strconv.Itoa(i), d.String())
	}
	k, _ := h.Sum()
	return digest.NewDigestFromBytes(digest.SHA256, k[:]), nil
}

// contentKey names the inputs by what is in them: the files that are copied,
// and the layers that are copied onto.
func (j *fileJob) contentKey(ctx context.Context) (key, error) {
	h := newHasher("", j.step)
	op, err := normalized(j.op)
	if err != nil {
		return key{}, err
	}
	h.Add("content of", op)
	for i := range j.step.Inputs {
		name := "input " + strconv.Itoa(i)
		if !selects(j.op, i) {
			h.Add(name+" layers", chain(j.inputs[i]))
			continue
		}
		d, err := j.s.selected(ctx, j.step, i, func() (layer.Tree, error) { return j.trees[i], nil })
		if err != nil {
			return key{}, err
		}
		h.Add(name+" files", d.String())
	}
	return sum(h), nil
}

func (j *fileJob) run(ctx context.Context, previous Previous) ([][]Layer, error) {
	var outs [][]Layer
	for i, a := range j.op.Actions {
		if a.Output < 0 {
			continue
		}
		l, err := j.layer(ctx, i, previous)
		if err != nil {
			return nil, err
		}
		for len(outs) <= a.Output {
			outs = append(outs, nil)
		}
		outs[a.Output] = lay(j.base(i), l, j.s.Now)
	}
	return outs, nil
}

// layer makes the layer of what action i and those before it change.
func (j *fileJob) layer(ctx context.Context, i int, previous Previous) (*layer.Layer, error) {
	defer j.close()
	t, err := j.tree(ctx, len(j.step.Inputs)+i)
	if err != nil {
		return nil, err
	}
	return j.s.Faces.Create(ctx, faces.CreateOptions{Previous: previous}, func(w *layer.Writer) error {
		return t.Emit(ctx, w)
	})
}

// base returns the layers that action i builds on.
func (j *fileJob) base(i int) []Layer {
	in := baseOf(j.op, i, len(j.step.Inputs))
	if in < 0 {
		return nil
	}
	return j.inputs[in]
}

// tree plans what index stands for: an input, or the result of an action. An
// action is planned anew for each that asks, so no two share changes.
func (j *fileJob) tree(ctx context.Context, index int) (*plan.Tree, error) {
	n := len(j.step.Inputs)
	if index < n {
		t := plan.New(j.input(index), j.options())
		j.plans = append(j.plans, t)
		return t, nil
	}
	a := j.op.Actions[index-n]
	t, err := j.tree(ctx, a.Input)
	if err != nil {
		return nil, err
	}
	return t, j.apply(ctx, t, a)
}

// close removes the temporary files of archives, of plans that failed too.
func (j *fileJob) close() {
	for _, t := range j.plans {
		t.Close()
	}
	j.plans = nil
}

func (j *fileJob) options() plan.Options {
	return plan.Options{Now: j.s.Now, Limits: j.s.Faces.Limits, Spool: func() (*os.File, error) { return j.s.Faces.Dir.TempFile("archive-*") }}
}

// input returns an input as a tree, or a true nil for an empty one.
func (j *fileJob) input(i int) layer.Tree {
	if i < 0 {
		return nil
	}
	return j.trees[i]
}

// source returns what index stands for as a tree to read from.
func (j *fileJob) source(ctx context.Context, index int) (layer.Tree, error) {
	if index >= 0 && index < len(j.step.Inputs) {
		return j.trees[index], nil
	}
	return j.tree(ctx, index)
}

func (j *fileJob) apply(ctx context.Context, t *plan.Tree, a graph.Action) error {
	owner := func(o *graph.Owner) (*plan.Owner, error) {
		return plan.LookupOwner(ctx, o, func(i int) (layer.Tree, error) { return j.source(ctx, i) })
	}
	switch op := a.Do.(type) {
	case *graph.Copy:
		own, err := owner(op.Owner)
		if err != nil {
			return err
		}
		src, err := j.source(ctx, a.Source)
		if err != nil {
			return err
		}
		return t.Copy(ctx, src, op, own)
	case *graph.Mkdir:
		own, err := owner(op.Owner)
		if err = j.forRoot(err); err != nil {
			return err
		}
		return t.Mkdir(ctx, op, own)
	case *graph.Mkfile:
		own, err := owner(op.Owner)
		if err != nil {
			return err
		}
		return t.Mkfile(ctx, op, own)
	case *graph.Symlink:
		own, err := owner(op.Owner)
		if err != nil {
			return err
		}
		return t.Symlink(ctx, op, own)
	case *graph.Remove:
		return t.Remove(ctx, op)
	default:
		return fmt.Errorf("file action %T cannot be done", op)
	}
}

// forRoot lets a directory be made for a user that the image does not know, of
// which WORKDIR has nobody's word but USER's: it belongs to root, as with BuildKit.
func (j *fileJob) forRoot(err error) error {
	unknown, ok := errors.AsType[*plan.UnknownOwnerError](err)
	if !ok {
		return err
	}
	text := fmt.Sprintf("%s: %s %q is not known to the image; a directory that is made belongs to root", j.step.Name, unknown.Kind, unknown.Name)
	j.s.event(j.step, progress.Event{Kind: progress.Warn, Data: []byte(text)})
	return nil
}
