package graph

import (
	"fmt"
	"path"

	"github.com/moby/buildkit/solver/pb"
)

func decodeExec(e *pb.ExecOp, inputs int) (Op, error) {
	m := e.GetMeta()
	if m == nil || len(m.GetArgs()) == 0 {
		return nil, fmt.Errorf("a command without arguments")
	}
	x := &Exec{
		Args: m.GetArgs(), Env: m.GetEnv(), Cwd: m.GetCwd(), User: m.GetUser(), Hostname: m.GetHostname(),
		Insecure: e.GetSecurity() != pb.SecurityMode_SANDBOX, Proxy: proxies(m.GetProxyEnv()), CgroupParent: m.GetCgroupParent(),
	}
	var err error
	if x.Network, err = network(e); err != nil {
		return nil, err
	}
	if err := pb.ValidateSecurityMode(e.GetSecurity()); err != nil {
		return nil, err
	}
	for _, h := range m.GetExtraHosts() {
		x.ExtraHosts = append(x.ExtraHosts, HostIP{h.GetHost(), h.GetIP()})
	}
	for _, u := range m.GetUlimit() {
		x.Ulimits = append(x.Ulimits, Ulimit{u.GetName(), u.GetSoft(), u.GetHard()})
	}
	for _, c := range m.GetValidExitCodes() {
		x.ValidExit = append(x.ValidExit, int(c))
	}
	for _, s := range e.GetSecretenv() {
		x.SecretEnv = append(x.SecretEnv, SecretEnv{s.GetID(), s.GetName(), s.GetOptional()})
	}
	for _, d := range e.GetCdiDevices() {
		if !d.GetOptional() {
			x.Devices = append(x.Devices, d.GetName())
		}
	}
	for _, pm := range e.GetMounts() {
		mount, err := decodeMount(pm, m.GetCwd(), inputs)
		if err != nil {
			return nil, err
		}
		x.Mounts = append(x.Mounts, mount)
	}
	return x, nil
}

func network(e *pb.ExecOp) (Network, error) {
	switch n := e.GetNetwork(); n {
	case pb.NetMode_UNSET:
		return NetworkDefault, nil
	case pb.NetMode_HOST:
		return NetworkHost, nil
	case pb.NetMode_NONE:
		return NetworkNone, nil
	default:
		return 0, fmt.Errorf("network mode %d is not known", n)
	}
}

// resources reads what lies beside an operation, not in it.
func resources(r *pb.LinuxResources) Resources {
	return Resources{
		Memory: r.GetMemory(), MemorySwap: r.GetMemorySwap(), CPUShares: r.GetCpuShares(), CPUPeriod: r.GetCpuPeriod(),
		CPUQuota: r.GetCpuQuota(), CPUs: r.GetCpusetCpus(), MemNodes: r.GetCpusetMems(),
	}
}

func decodeMount(m *pb.Mount, cwd string, inputs int) (Mount, error) {
	out := Mount{
		Input: int(m.GetInput()), Selector: m.GetSelector(), Target: path.Clean(m.GetDest()),
		ReadOnly: m.GetReadonly(), Output: int(m.GetOutput()),
	}
	if !path.IsAbs(out.Target) {
		out.Target = path.Join("/", cwd, out.Target)
	}
	if out.Input < -1 || out.Input >= inputs {
		return out, fmt.Errorf("mount %s: input %d of %d", out.Target, out.Input, inputs)
	}
	if m.GetMountType() != pb.MountType_BIND {
		out.Output = -1 // the wire says 0 for secrets, which have none
	}
	switch t := m.GetMountType(); t {
	case pb.MountType_BIND:
		out.Type = MountBind
	case pb.MountType_CACHE:
		out.Type = MountCache
		out.CacheID = m.GetCacheOpt().GetID()
		sharing, ok := map[pb.CacheSharingOpt]string{
			pb.CacheSharingOpt_SHARED: "shared", pb.CacheSharingOpt_PRIVATE: "private", pb.CacheSharingOpt_LOCKED: "locked",
		}[m.GetCacheOpt().GetSharing()]
		if !ok {
			return out, fmt.Errorf("mount %s: sharing %d is not known", out.Target, m.GetCacheOpt().GetSharing())
		}
		out.Sharing = sharing
	case pb.MountType_TMPFS:
		out.Type = MountTmpfs
		out.Size = m.GetTmpfsOpt().GetSize()
	case pb.MountType_SECRET:
		o := m.GetSecretOpt()
		out.Type, out.ID, out.Optional = MountSecret, o.GetID(), o.GetOptional()
		out.UID, out.GID, out.Mode = int(o.GetUid()), int(o.GetGid()), o.GetMode()
	case pb.MountType_SSH:
		o := m.GetSSHOpt()
		out.Type, out.ID, out.Optional = MountSSH, o.GetID(), o.GetOptional()
		out.UID, out.GID, out.Mode = int(o.GetUid()), int(o.GetGid()), o.GetMode()
	default:
		return out, fmt.Errorf("mount %s: type %d is not known", out.Target, t)
	}
	return out, nil
}

func proxies(p *pb.ProxyEnv) []string {
	var env []string
	add := func(value string, names ...string) {
		for _, n := range names {
			if value != "" {
				env = append(env, n+"="+value)
			}
		}
	}
	add(p.GetHttpProxy(), "HTTP_PROXY", "http_proxy")
	add(p.GetHttpsProxy(), "HTTPS_PROXY", "https_proxy")
	add(p.GetFtpProxy(), "FTP_PROXY", "ftp_proxy")
	add(p.GetNoProxy(), "NO_PROXY", "no_proxy")
	add(p.GetAllProxy(), "ALL_PROXY", "all_proxy")
	return env
}
