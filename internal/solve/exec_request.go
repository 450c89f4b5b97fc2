package solve

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// defaultPath is for a command whose image says nothing; it is BuildKit's.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// request describes the step to the worker. Layers that have no tree yet are
// brought here; of the others no byte is needed.
func (j *execJob) request(ctx context.Context, client *worker.Client) (*worker.Request, error) {
	layers, err := j.trees(ctx, client, j.layers(j.root()))
	if err != nil {
		return nil, err
	}
	env, err := j.env()
	if err != nil {
		return nil, err
	}
	req := &worker.Request{Layers: layers, Arch: platformOf(j.step).Architecture}
	req.Spec = sandbox.Spec{
		Args: j.op.Args, Env: env, Cwd: j.op.Cwd, User: j.op.User, Hostname: j.op.Hostname,
		Network: sandbox.NetworkHost, ResolvConf: j.s.ResolvConf, Hosts: j.hosts(),
		ReadOnlyRoot: j.root().ReadOnly, Insecure: j.op.Insecure, Ulimits: j.ulimits(), Limits: j.limits(),
	}
	if j.op.Network == graph.NetworkNone {
		req.Spec.Network = sandbox.NetworkNone
	}
	req.Mounts, err = j.mounts(ctx, client)
	return req, err
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
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		env = append(env, defaultPath)
	}
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
	out := sandbox.HostsFile(j.op.Hostname)
	for _, h := range j.op.ExtraHosts {
		out = fmt.Appendf(out, "%s\t%s\n", h.IP, h.Host)
	}
	return out
}

func (j *execJob) ulimits() []sandbox.Ulimit {
	var out []sandbox.Ulimit
	for _, u := range j.op.Ulimits {
		out = append(out, sandbox.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return out
}

func (j *execJob) limits() cgroup.Limits {
	r := j.op.Resources
	return cgroup.Limits{
		Memory: r.Memory, MemorySwap: r.MemorySwap, CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CPUs: r.CPUs, MemNodes: r.MemNodes, Pids: j.s.Pids, Parent: j.op.CgroupParent,
	}
}
