package sandbox

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ocibuild/ocibuild/internal/sandbox/lsm"
	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// answered has calls of the step answered that the kernel cannot.
func (s *Spec) answered(c *stage.Config) {
	if s.Owners {
		c.Notify = notify.Filter()
	}
	if s.Chroot && !mayElevate(c) && notify.Supported() == nil {
		c.Proc = notify.ProcFilter()
	}
}

// config checks a Spec and says it in the stage's words.
func (s *Spec) config() (*stage.Config, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	id, err := LookupUser(s.Rootfs, s.User)
	if err != nil {
		return nil, err
	}
	c := &stage.Config{
		Rootfs: path.Clean(s.Rootfs), Args: s.Args, Env: environment(s.Env, id.Home),
		Cwd: path.Join("/", s.Cwd),
		UID: id.UID, GID: id.GID, Groups: id.Groups,
		Hostname: s.Hostname, Loopback: s.Network == NetworkNone,
		Interactive: s.Interactive, Insecure: s.Insecure, ReadOnlyRoot: s.ReadOnlyRoot,
	}
	if c.Hostname == "" {
		c.Hostname = defaultHostname
	}
	if s.ResolvConf != nil {
		c.Mounts = append(c.Mounts, etcFile("/etc/resolv.conf", s.ResolvConf))
	}
	if s.Hosts != nil {
		c.Mounts = append(c.Mounts, etcFile("/etc/hosts", s.Hosts))
	}
	for i := range s.Mounts {
		m, err := s.Mounts[i].config()
		if err != nil {
			return nil, err
		}
		c.Mounts = append(c.Mounts, m)
	}
	if c.Rlimits, err = rlimits(s.Ulimits); err != nil {
		return nil, err
	}
	for _, e := range s.Emulators {
		c.Emulators = append(c.Emulators, stage.Emulator{File: e.File, Rule: e.Rule})
	}
	s.answered(c)
	if !s.Insecure {
		if c.Seccomp, err = filter(); err != nil {
			return nil, err
		}
		if p := lsm.For(c.Rootfs); p != nil {
			c.Profile = &stage.Profile{Name: p.Name, Attr: p.Attr, Text: p.Text, Files: p.Files}
		}
	}
	return c, nil
}

func (s *Spec) validate() error {
	if len(s.Args) == 0 || s.Args[0] == "" {
		return errors.New("no command to run")
	}
	for _, a := range s.Args {
		if strings.Contains(a, "\x00") {
			return fmt.Errorf("argument %q: a NUL character cannot be passed on", a)
		}
	}
	if !path.IsAbs(s.Rootfs) || path.Clean(s.Rootfs) == "/" {
		return fmt.Errorf("root %q: must be an absolute path other than /", s.Rootfs)
	}
	if err := s.validateRuntime(); err != nil {
		return err
	}
	switch s.Network {
	case "", NetworkHost, NetworkNone:
	default:
		return fmt.Errorf("unknown network %q", s.Network)
	}
	if s.Chroot {
		if err := s.checkChroot(); err != nil {
			return err
		}
	}
	cwd := path.Join("/", s.Cwd)
	if cwd == "/proc" || strings.HasPrefix(cwd, "/proc/") {
		return fmt.Errorf("working directory %s: a step cannot work in /proc", s.Cwd)
	}
	return nil
}

// environment drops what is not a variable. Some runtimes take an entry without
// a value as "pass the host's", which would let an image read the builder's.
func environment(env []string, home string) []string {
	out, found := make([]string, 0, len(env)+1), false
	for _, e := range env {
		if strings.IndexByte(e, '=') <= 0 || strings.Contains(e, "\x00") {
			continue
		}
		found = found || strings.HasPrefix(e, "HOME=")
		out = append(out, e)
	}
	if !found {
		out = append(out, "HOME="+home)
	}
	return out
}

// etcFile is optional: an image whose /etc is odd can still run steps.
func etcFile(target string, data []byte) stage.Mount {
	return stage.Mount{Kind: stage.File, Target: target, Data: data, Mode: 0o644, ReadOnly: true, Optional: true}
}

func (m *Mount) config() (stage.Mount, error) {
	out := stage.Mount{
		Source: m.Source, Target: path.Clean(m.Target), ReadOnly: m.ReadOnly,
		Size: m.Size, Data: m.Data, Mode: m.Mode, UID: m.UID, GID: m.GID,
	}
	fail := func(why string) (stage.Mount, error) {
		return out, fmt.Errorf("mount %s at %q: %s", m.Type, m.Target, why)
	}
	if !path.IsAbs(m.Target) {
		return fail("the target must be an absolute path")
	}
	if stage.Reserved(out.Target) {
		return fail("nothing may be mounted there; / and /dev themselves, /proc and /sys are the sandbox's")
	}
	switch m.Type {
	case Bind:
		out.Kind = stage.Bind
		if !path.IsAbs(m.Source) {
			return fail(fmt.Sprintf("the source %q must be an absolute path", m.Source))
		}
	case Tmpfs:
		out.Kind = stage.Tmpfs
		if out.Mode == 0 {
			out.Mode = 0o1777
		}
	case File:
		out.Kind = stage.File
		if out.Mode == 0 {
			out.Mode = 0o400
		}
	default:
		return fail("unknown type of mount")
	}
	return out, nil
}
