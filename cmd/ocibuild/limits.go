package main

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocibuild/ocibuild/builder"
)

// stepFlags are the flags about how RUN is run, as they were written.
type stepFlags struct {
	ssh, allow, ulimits, hosts    []string
	shmSize, memory, cgroupParent string
	pids                          int64
}

func (f *stepFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.ssh, "ssh", nil,
		"`ID[=PATH,PATH]` for RUN --mount=type=ssh and git: the socket of an agent, or keys;\ndefault alone is the agent in SSH_AUTH_SOCK; ID=PATH,raw=true: any socket")
	fs.StringArrayVar(&f.allow, "allow", nil, "`RIGHT` that the build may take: security.insecure (RUN --security=insecure)")
	fs.StringArrayVar(&f.hosts, "add-host", nil, "`NAME:IP` for /etc/hosts of RUN")
	fs.StringArrayVar(&f.ulimits, "ulimit", nil, "`NAME=SOFT[:HARD]`: limit of each process of RUN, such as nofile=1024:4096")
	fs.StringVar(&f.shmSize, "shm-size", "", "`SIZE` of /dev/shm in RUN (default 64m)")
	fs.StringVarP(&f.memory, "memory", "m", "", "`SIZE` of memory that one RUN may use")
	fs.Int64Var(&f.pids, "pids-limit", 0, "`NUMBER` of processes that one RUN may have, -1 for any (default 32768\nwhere control groups can be made)")
	fs.StringVar(&f.cgroupParent, "cgroup-parent", "", "`PATH` of the control group that those of RUN are made in")
}

// apply puts the flags into the options.
func (f *stepFlags) apply(o *builder.Options) error {
	for _, s := range f.ssh {
		agent, err := parseSSH(s)
		if err != nil {
			return err
		}
		o.SSH = append(o.SSH, agent)
	}
	o.Allow = commas(f.allow)
	for _, s := range f.hosts {
		h, err := parseHost(s)
		if err != nil {
			return err
		}
		o.ExtraHosts = append(o.ExtraHosts, h)
	}
	for _, s := range f.ulimits {
		u, err := parseUlimit(s)
		if err != nil {
			return err
		}
		o.Limits.Ulimits = append(o.Limits.Ulimits, u)
	}
	o.Limits.Pids, o.Limits.CgroupParent = f.pids, f.cgroupParent
	var err error
	if o.Limits.ShmSize, err = parseSize("--shm-size", f.shmSize); err != nil {
		return err
	}
	o.Limits.Memory, err = parseSize("--memory", f.memory)
	return err
}

// parseHost reads "NAME:IP" or "NAME=IP"; an IPv6 address may stand in brackets.
func parseHost(s string) (builder.ExtraHost, error) {
	at := strings.IndexAny(s, ":=")
	if at < 1 || at == len(s)-1 {
		return builder.ExtraHost{}, usagef("--add-host %q: not of the form NAME:IP", s)
	}
	ip := s[at+1:]
	if inner, ok := strings.CutPrefix(ip, "["); ok && strings.HasSuffix(inner, "]") {
		ip = strings.TrimSuffix(inner, "]")
	}
	return builder.ExtraHost{Name: s[:at], IP: ip}, nil
}

// parseUlimit reads "NAME=SOFT[:HARD]".
func parseUlimit(s string) (builder.Ulimit, error) {
	name, values, ok := strings.Cut(s, "=")
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	u := builder.Ulimit{Name: name}
	var err, err2 error
	u.Soft, err = strconv.ParseInt(soft, 10, 64)
	u.Hard, err2 = strconv.ParseInt(hard, 10, 64)
	if !ok || name == "" || err != nil || err2 != nil {
		return u, usagef("--ulimit %q: not of the form NAME=SOFT[:HARD], with numbers", s)
	}
	return u, nil
}

// parseSize reads a number of bytes with an optional unit: b, k, m, g or t, each
// 1024 times the one before. Nothing is 0.
func parseSize(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	number, shift := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(s), "b"), "i"), 0
	for i, unit := range []string{"k", "m", "g", "t"} {
		if n, ok := strings.CutSuffix(number, unit); ok {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n<<shift>>shift != n {
		return 0, usagef("%s %q: not a size such as 512m or 2g", flag, s)
	}
	return n << shift, nil
}
