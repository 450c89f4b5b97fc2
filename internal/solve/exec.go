package solve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// execJob runs a command in the worker.
type execJob struct {
	s      *Solver
	step   *graph.Step
	op     *graph.Exec
	inputs [][]Layer
	blobs  bool // the worker needs the blobs of all layers
}

// ExitError is a command that failed.
type ExitError struct {
	Args   []string
	Code   int
	Output []byte // the last lines of what it printed
	// Reason says more than the code, if there is more: that it is not in the
	// image, or that it ran into a limit.
	Reason string
}

// Error says what BuildKit says.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("process %q did not complete successfully: exit code: %d", strings.Join(e.Args, " "), e.Code)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

func (s *Solver) prepareExec(ctx context.Context, step *graph.Step, op *graph.Exec) (*execJob, error) {
	if err := supported(step); err != nil {
		return nil, err
	}
	inputs, err := s.outputs(ctx, step.Inputs, func(int) bool { return true })
	return &execJob{s: s, step: step, op: op, inputs: inputs}, err
}

// supported refuses what would otherwise be ignored.
func supported(step *graph.Step) error {
	if p := step.Platform; p != nil && p.OS != "linux" {
		return fmt.Errorf("RUN for %s is not supported: a step runs on Linux", platforms.Format(*p))
	}
	return nil
}

func (j *execJob) run(ctx context.Context, previous Previous) ([][]Layer, error) {
	client, err := j.s.Worker(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.s.renew(ctx, client); err != nil {
		return nil, err
	}
	x, tail, err := j.exec(ctx, client)
	var missing *worker.MissingError
	if errors.As(err, &missing) {
		j.blobs = true
		x, tail, err = j.exec(ctx, client)
	}
	if err != nil {
		return nil, j.diagnose(ctx, err)
	}
	if !j.valid(x.ExitCode) {
		_ = x.Discard() // the command's own failure is what counts
		return nil, &ExitError{Args: j.op.Args, Code: x.ExitCode, Output: tail, Reason: cmp.Or(x.Reason, x.Exceeded, x.Hint)}
	}
	return j.commit(ctx, x, previous)
}

// diagnose finds out whether the worker failed because a blob that it unpacked is
// damaged.
func (j *execJob) diagnose(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	for _, in := range j.inputs {
		for _, l := range in {
			if d, derr := l.Descriptor(ctx); derr == nil {
				if damage := j.s.Faces.Dir.VerifyBlob(d.Digest, d.Size); damage != nil && !errors.Is(damage, fs.ErrNotExist) {
					return fmt.Errorf("%w; %w", damage, err)
				}
			}
		}
	}
	return err
}

func (j *execJob) valid(code int) bool {
	if len(j.op.ValidExit) == 0 {
		return code == 0
	}
	return slices.Contains(j.op.ValidExit, code)
}

// exec runs the command and passes on what it prints.
func (j *execJob) exec(ctx context.Context, client *worker.Client) (*worker.Execution, []byte, error) {
	req, err := j.request(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	out, err := newOutput(j.s.Streams, func(stream int, data []byte) { j.s.log(j.step, stream, data) })
	if err != nil {
		return nil, nil, err
	}
	x, err := client.Exec(ctx, req, sandbox.Stdio{Stdout: out.stdout, Stderr: out.stderr})
	tail := out.close()
	return x, tail, err
}

// commit makes a layer for each output: of the root, and of mounts.
func (j *execJob) commit(ctx context.Context, x *worker.Execution, previous Previous) ([][]Layer, error) {
	var outs [][]Layer
	for _, m := range j.outputs() {
		for len(outs) <= m.Output {
			outs = append(outs, nil)
		}
		outs[m.Output] = j.layers(m)
		if m.ReadOnly && m.Target != "/" {
			continue // it is as it was
		}
		var c *worker.Commit
		var err error
		if m.Target == "/" {
			c, err = x.Commit(ctx, previous)
		} else {
			c, err = x.CommitMount(ctx, m.Target, Previous{})
		}
		if err != nil {
			return nil, failure.Join(err, x.Discard())
		}
		l := j.s.Faces.Awaited(c.DiffID, func(ctx context.Context) (cache.Layer, error) { return c.Wait(ctx) })
		outs[m.Output] = lay(outs[m.Output], l, j.s.Now)
	}
	return outs, x.Discard() // what nobody can ask for
}

// outputs are the mounts that other steps can ask for.
func (j *execJob) outputs() []graph.Mount {
	var out []graph.Mount
	for _, m := range j.op.Mounts {
		if m.Output >= 0 {
			out = append(out, m)
		}
	}
	return out
}

func (j *execJob) root() graph.Mount {
	for _, m := range j.op.Mounts {
		if m.Target == "/" {
			return m
		}
	}
	return graph.Mount{Target: "/", Input: -1, Output: -1}
}

func (j *execJob) layers(m graph.Mount) []Layer {
	if m.Input < 0 {
		return nil
	}
	return j.inputs[m.Input]
}
