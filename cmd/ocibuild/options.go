package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/builder"
)

// maxDockerfile and maxSecret bound what is read into memory, in bytes.
const (
	maxDockerfile = 16 << 20
	maxSecret     = 500 << 10 // BuildKit's limit
)

// options turns the flags into what the builder wants, without the sinks.
func (f *buildFlags) options(c *cli, dir string) (*builder.Options, error) {
	o := &builder.Options{
		Context: dir, Dockerfile: f.file, Target: f.target, Tags: f.tags, Store: c.store, Network: f.network, Isolation: f.isolation, Runtime: f.runtime,
		NoCache: f.noCache, NoCacheFilter: commas(f.noCacheFilter), Pull: f.pull, Jobs: f.jobs, Labels: pairs(f.labels),
	}
	var err error
	if f.jobs < 0 {
		return nil, usagef("--jobs %d: not a number of steps", f.jobs)
	}
	if o.Args, err = buildArgs(f.args); err != nil {
		return nil, err
	}
	addProxies(o.Args)
	if o.Platforms, err = platformsOf(f.platform); err != nil {
		return nil, err
	}
	if o.Bounds, err = parseLimits(f.limits); err != nil {
		return nil, err
	}
	if o.Contexts, err = buildContexts(f.contexts); err != nil {
		return nil, err
	}
	if o.Annotations, err = annotations(f.annotations); err != nil {
		return nil, err
	}
	if err := f.mounts(o); err != nil {
		return nil, err
	}
	if err := f.steps.apply(o); err != nil {
		return nil, err
	}
	if o.Registries, err = f.registry.registries(); err != nil {
		return nil, err
	}
	if dir == "-" {
		if f.file == "-" {
			return nil, usagef("standard input cannot be both the CONTEXT and the Dockerfile")
		}
		o.Context, o.ContextData = "", c.stdin
	}
	if err := f.readDockerfile(c, o); err != nil {
		return nil, err
	}
	return o, nil
}

// readDockerfile reads a Dockerfile that is no file but a stream: standard input,
// or a FIFO as a shell makes it of -f <(…).
func (f *buildFlags) readDockerfile(c *cli, o *builder.Options) (err error) {
	if f.file == "-" {
		o.Dockerfile = ""
		if o.DockerfileData, err = readLimited(c.stdin, maxDockerfile); err != nil {
			return fmt.Errorf("the Dockerfile on standard input: %w", err)
		}
		return nil
	}
	fi, err := os.Stat(f.file)
	if f.file == "" || err != nil || fi.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) == 0 || o.Context == "" || builder.IsRemote(o.Context) {
		return nil // the builder reads it, or says what is wrong with it
	}
	stream, err := os.Open(f.file)
	if err != nil {
		return fmt.Errorf("the Dockerfile: %w", err)
	}
	defer stream.Close()
	o.Dockerfile = ""
	if o.DockerfileData, err = readLimited(stream, maxDockerfile); err != nil {
		return fmt.Errorf("the Dockerfile %s: %w", f.file, err)
	}
	return nil
}

// mounts are what steps can see of this machine.
func (f *buildFlags) mounts(o *builder.Options) error {
	for _, s := range f.secrets {
		secret, err := parseSecret(s)
		if err != nil {
			return err
		}
		o.Secrets = append(o.Secrets, secret)
	}
	for _, v := range f.volumes {
		source, target, _, err := parseVolume(v)
		if err != nil {
			return err
		}
		o.Volumes = append(o.Volumes, builder.Volume{Source: source, Target: target})
	}
	return nil
}

// readLimited reads all; the result is never nil.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

func pairs(list []string) map[string]string {
	m := map[string]string{}
	for _, s := range list {
		k, v, _ := strings.Cut(s, "=")
		m[k] = v
	}
	return m
}

// commas cuts each value at its commas.
func commas(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.Split(s, ",")...)
	}
	return out
}

const epochArg = "SOURCE_DATE_EPOCH"

// buildArgs takes "K=V", and of "K" the environment's value if there is one.
// SOURCE_DATE_EPOCH is taken from the environment in any case.
func buildArgs(list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if k == "" {
			return nil, usagef("--build-arg %q: it has no name", s)
		}
		if !ok {
			if v, ok = os.LookupEnv(k); !ok {
				continue
			}
		}
		m[k] = v
	}
	if _, given := m[epochArg]; !given && os.Getenv(epochArg) != "" {
		m[epochArg] = os.Getenv(epochArg)
	}
	return m, nil
}

// buildContexts takes "NAME=CONTEXT".
func buildContexts(list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" || v == "" {
			return nil, usagef("--build-context %q: not of the form NAME=CONTEXT", s)
		}
		if _, twice := m[k]; twice {
			return nil, usagef("--build-context %q: %s is given twice", s, k)
		}
		m[k] = v
	}
	return m, nil
}

func platformsOf(s string) ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for one := range strings.SplitSeq(s, ",") {
		if one == "" {
			continue
		}
		p, err := platforms.Parse(one)
		if err != nil {
			return nil, usagef("--platform %q: %v", s, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// field is one "key=value" of a flag's value; a key alone has no value.
type field struct {
	key, value string
	bare       bool
}

// fields cuts a flag's value at its commas, as CSV does.
func fields(flag, s string) ([]field, error) {
	parts, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return nil, usagef("%s %q: %v", flag, s, err)
	}
	out := make([]field, len(parts))
	for i, p := range parts {
		k, v, ok := strings.Cut(p, "=")
		out[i] = field{key: strings.ToLower(strings.TrimSpace(k)), value: v, bare: !ok}
	}
	return out, nil
}

// secretFlag is one --secret as it was written.
type secretFlag struct{ id, file, env, kind string }

// parseSecret reads "id=ID[,src=FILE|env=VARIABLE][,type=file|env]".
func parseSecret(s string) (builder.Secret, error) {
	list, err := fields("--secret", s)
	if err != nil {
		return builder.Secret{}, err
	}
	var f secretFlag
	for _, one := range list {
		switch one.key {
		case "id":
			f.id = one.value
		case "src", "source":
			f.file = one.value
		case "env":
			f.env = one.value
		case "type":
			f.kind = one.value
		default:
			return builder.Secret{}, usagef("--secret %q: unknown key %q (value %q); there are id, src, env, type", s, one.key, one.value)
		}
	}
	switch {
	case f.id == "":
		return builder.Secret{}, usagef("--secret %q: no id", s)
	case f.file != "" && f.env != "":
		return builder.Secret{}, usagef("--secret %q: both a file and a variable", s)
	case f.kind != "" && f.kind != "file" && f.kind != "env":
		return builder.Secret{}, usagef("--secret %q: type %q is not one of file, env", s, f.kind)
	}
	return builder.Secret{ID: f.id, Value: secretValue(f.source())}, nil
}

// source returns the file or the variable. Without either, as docker has it, a
// variable of the id's name is meant, or else a file; with type=env, src names
// a variable.
func (f *secretFlag) source() (file, env string) {
	switch {
	case f.env != "":
		return "", f.env
	case f.kind == "env":
		return "", cmp.Or(f.file, f.id)
	case f.file != "":
		return f.file, ""
	}
	if _, ok := os.LookupEnv(f.id); ok && f.kind == "" {
		return "", f.id
	}
	return f.id, ""
}

func secretValue(file, env string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if env != "" {
			v, ok := os.LookupEnv(env)
			if !ok {
				return nil, fmt.Errorf("the variable %s is not set", env)
			}
			return []byte(v), nil
		}
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readLimited(f, maxSecret)
	}
}

// readSecrets reads each secret once, before anything is built: what is wrong
// with a flag is said at once.
func readSecrets(list []builder.Secret) error {
	for i := range list {
		v, err := list[i].Value()
		if err != nil {
			return usagef("--secret id=%s: %v", list[i].ID, err)
		}
		list[i].Value = func() ([]byte, error) { return v, nil }
	}
	return nil
}

// parseVolume reads "HOST:PATH[:ro]".
func parseVolume(s string) (source, target string, readOnly bool, err error) {
	source, target, ok := strings.Cut(s, ":")
	if vol := filepath.VolumeName(s); vol != "" { // "C:\dir:/path"
		source, target, ok = strings.Cut(s[len(vol):], ":")
		source = vol + source
	}
	target, mode, _ := strings.Cut(target, ":")
	switch {
	case !ok || source == "" || target == "":
		return "", "", false, usagef("--volume %q: not of the form HOST:PATH[:ro]", s)
	case mode != "" && mode != "ro":
		return "", "", false, usagef("--volume %q: %q is not supported, volumes are read-only (ro)", s, mode)
	case !path.IsAbs(target):
		return "", "", false, usagef("--volume %q: %q is not an absolute path", s, target)
	}
	if source, err = filepath.Abs(source); err == nil {
		_, err = os.Stat(source)
	}
	if err != nil {
		return "", "", false, usagef("--volume %q: %v", s, err)
	}
	return source, target, mode == "ro", nil
}
