package solve

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// execJob runs a command in the worker.
type execJob struct {
	s      *Solver
	step   *graph.Step
	op     *graph.Exec
	inputs [][]Layer
}

// ExitError is a command that failed.
type ExitError struct {
	Args   []string
	Code   int
	Output []byte // the last lines of what it printed
}

// Error says what BuildKit says.
func (e *ExitError) Error() string {
	return fmt.Sprintf("process %q did not complete successfully: exit code: %d", strings.Join(e.Args, " "), e.Code)
}

func (s *Solver) prepareExec(ctx context.Context, step *graph.Step, op *graph.Exec) (*execJob, error) {
	if err := supported(step, op); err != nil {
		return nil, err
	}
	inputs, err := s.outputs(ctx, step.Inputs, func(int) bool { return true })
	return &execJob{s: s, step: step, op: op, inputs: inputs}, err
}

// supported refuses what would otherwise be ignored.
func supported(step *graph.Step, op *graph.Exec) error {
	host := platformOf(&graph.Step{})
	switch p := step.Platform; {
	case p != nil && (p.OS != "linux" || p.Architecture != host.Architecture):
		return fmt.Errorf("RUN for %s/%s on a %s machine is not supported yet", p.OS, p.Architecture, host.Architecture)
	case op.Insecure:
		return fmt.Errorf("RUN --security=insecure is not allowed")
	case len(op.Devices) > 0:
		return fmt.Errorf("RUN --device is not supported yet: %s", strings.Join(op.Devices, ", "))
	case len(op.Ulimits) > 0:
		return fmt.Errorf("ulimits are not supported yet: %s", op.Ulimits[0].Name)
	case op.CgroupParent != "":
		return fmt.Errorf("a cgroup parent is not supported yet: %s", op.CgroupParent)
	}
	for _, m := range op.Mounts {
		switch {
		case m.Type == graph.MountSSH && !m.Optional:
			return fmt.Errorf("RUN --mount=type=ssh is not supported yet")
		case m.Target != "/" && m.Output >= 0:
			return fmt.Errorf("the output of the mount %s is not supported yet", m.Target)
		}
	}
	return nil
}

// contentKey names the mounted inputs by their layers.
func (j *execJob) contentKey(context.Context) (key, error) {
	h := newHasher("", j.step)
	op, err := normalized(j.op)
	if err != nil {
		return key{}, err
	}
	h.Add("content of", op)
	for i, in := range j.inputs {
		h.Add("input "+strconv.Itoa(i)+" layers", chain(in))
	}
	return sum(h), nil
}

func (j *execJob) run(ctx context.Context, previous Previous) ([][]Layer, error) {
	client, err := j.s.Worker(ctx)
	if err != nil {
		return nil, err
	}
	req, err := j.request(ctx, client)
	if err != nil {
		return nil, err
	}
	x, tail, err := j.exec(ctx, client, req)
	if err != nil {
		return nil, err
	}
	if !j.valid(x.ExitCode) {
		_ = x.Discard() // the command's own failure is what counts
		return nil, &ExitError{Args: j.op.Args, Code: x.ExitCode, Output: tail}
	}
	return j.commit(ctx, x, previous)
}

func (j *execJob) valid(code int) bool {
	if len(j.op.ValidExit) == 0 {
		return code == 0
	}
	return slices.Contains(j.op.ValidExit, code)
}

// exec runs the command and passes on what it prints.
func (j *execJob) exec(ctx context.Context, client *worker.Client, req *worker.Request) (*worker.Execution, []byte, error) {
	out, err := newOutput(func(stream int, data []byte) { j.s.log(j.step, stream, data) })
	if err != nil {
		return nil, nil, err
	}
	x, err := client.Exec(ctx, req, sandbox.Stdio{Stdout: out.stdout, Stderr: out.stderr})
	tail := out.close()
	return x, tail, err
}

func (j *execJob) commit(ctx context.Context, x *worker.Execution, previous Previous) ([][]Layer, error) {
	root := j.root()
	if root.Output < 0 {
		return nil, x.Discard()
	}
	base := j.layers(root)
	c, err := x.Commit(ctx, previous)
	if err != nil {
		return nil, err
	}
	l := j.s.Faces.Awaited(c.DiffID, func(ctx context.Context) (cache.Layer, error) { return c.Wait(ctx) })
	outs := make([][]Layer, root.Output+1)
	outs[root.Output] = append(append([]Layer{}, base...), Layer{Layer: l, Created: j.s.Now})
	return outs, nil
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

// request describes the step to the worker. Layers that have no tree yet are
// brought here; of the others no byte is needed.
func (j *execJob) request(ctx context.Context, client *worker.Client) (*worker.Request, error) {
	layers, err := trees(ctx, client, j.layers(j.root()))
	if err != nil {
		return nil, err
	}
	env, err := j.env()
	if err != nil {
		return nil, err
	}
	req := &worker.Request{Layers: layers, Mounts: slices.Clone(j.s.HostMounts), Spec: sandbox.Spec{
		Args: j.op.Args, Env: env, Cwd: j.op.Cwd, User: j.op.User, Hostname: j.op.Hostname,
		Network: sandbox.NetworkHost, ResolvConf: j.s.Network.ResolvConf, Hosts: j.hosts(),
	}}
	if j.op.Network == graph.NetworkNone {
		req.Spec.Network = sandbox.NetworkNone
	}
	for _, m := range j.op.Mounts {
		if m.Target == "/" || m.Type == graph.MountSSH {
			continue
		}
		wm, ok, err := j.mount(ctx, client, m)
		if err != nil {
			return nil, err
		}
		if ok {
			req.Mounts = append(req.Mounts, wm)
		}
	}
	return req, nil
}

// mount translates a mount; ok is false for an optional secret that is not given.
func (j *execJob) mount(ctx context.Context, client *worker.Client, m graph.Mount) (worker.Mount, bool, error) {
	out := worker.Mount{
		Type: worker.MountType(m.Type), Target: m.Target, ReadOnly: m.ReadOnly, Selector: m.Selector,
		CacheID: m.CacheID, Sharing: worker.Sharing(m.Sharing), Size: m.Size, Mode: m.Mode, UID: m.UID, GID: m.GID,
	}
	switch m.Type {
	case graph.MountSecret:
		value, ok, err := j.secret(m.ID, m.Optional)
		out.Data = value
		return out, ok, err
	case graph.MountBind, graph.MountCache:
		var err error
		out.Layers, err = trees(ctx, client, j.layers(m))
		return out, true, err
	}
	return out, true, nil
}

func (j *execJob) secret(id string, optional bool) ([]byte, bool, error) {
	value, ok, err := j.s.Secret(id)
	if err != nil {
		return nil, false, fmt.Errorf("secret %q: %w", id, err)
	}
	if !ok && !optional {
		return nil, false, fmt.Errorf("secret %q is required but not given; pass --secret id=%s,src=FILE", id, id)
	}
	return value, ok, nil
}

func (j *execJob) env() ([]string, error) {
	env := append(slices.Clone(j.op.Env), j.op.Proxy...)
	for _, se := range j.op.SecretEnv {
		value, ok, err := j.secret(se.ID, se.Optional)
		if err != nil {
			return nil, err
		}
		if !ok {
			value = nil // the variable is there, and empty, as with BuildKit
		}
		env = append(env, se.Name+"="+string(value))
	}
	return env, nil
}

func (j *execJob) hosts() []byte {
	out := slices.Clone(j.s.Network.Hosts)
	for _, h := range j.op.ExtraHosts {
		out = fmt.Appendf(out, "%s\t%s\n", h.IP, h.Host)
	}
	return out
}

// trees names layers for the worker, with the blobs of those not unpacked yet.
func trees(ctx context.Context, client *worker.Client, layers []Layer) ([]snapshot.Layer, error) {
	layers = distinct(layers)
	out := make([]snapshot.Layer, len(layers))
	ids := make([]digest.Digest, len(layers))
	for i, l := range layers {
		ids[i], out[i].DiffID = l.DiffID, l.DiffID
	}
	has, err := client.HasTrees(ctx, ids)
	if err != nil {
		return nil, err
	}
	eg, ctx := errgroup.WithContext(ctx)
	for i, l := range layers {
		if has[i] {
			continue
		}
		eg.Go(func() error {
			b, err := l.Blob(ctx)
			out[i].Blob, out[i].MediaType = b.Path, b.Descriptor.MediaType
			return err
		})
	}
	return out, eg.Wait()
}

// distinct leaves of equal layers the uppermost, which hides all that the
// others could show: the kernel takes no directory twice into an overlay.
func distinct(layers []Layer) []Layer {
	var out []Layer
	seen := map[digest.Digest]bool{}
	for _, l := range slices.Backward(layers) {
		if !seen[l.DiffID] {
			seen[l.DiffID] = true
			out = append(out, l)
		}
	}
	slices.Reverse(out)
	return out
}
