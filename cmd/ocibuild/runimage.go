package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// patience is how many signals a command may ignore before it is killed.
const patience = 2

// defaultPath is what commands are looked for in when the image does not say.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// runFlags are the flags of ocibuild run as they were written.
type runFlags struct {
	env, volumes               []string
	workdir, user, network     string
	isolation, runtime         string
	entrypoint, platform       string
	entrypointSet, interactive bool
	tty, remove                bool
}

func (c *cli) runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use: "run [flags] IMAGE [ARGUMENT…]", Short: "Run an image of the store", Args: between(1, -1), DisableFlagsInUseLine: true,
		Long: `Run an image of the store in the sandbox of RUN.

The command sees the host's network and this program's standard input, output
and error. What it writes is thrown away, and when it ends, every process it has
left is ended too. SIGINT and SIGTERM are passed on; a third one kills.

Exit codes: the command's own, 125 if it could not be run, 126 if it is not
executable, 127 if it is not there, 130 interrupted before it began.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.entrypointSet = cmd.Flags().Changed("entrypoint")
			return c.runImage(cmd.Context(), f, args[0], args[1:])
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.SetInterspersed(false) // what follows the image is the command's
	fs.BoolVar(&f.remove, "rm", true, "leave nothing behind (always)")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "`KEY=VALUE` for the environment; KEY alone takes ours")
	fs.StringArrayVarP(&f.volumes, "volume", "v", nil, "`HOST:PATH:ro`: show a file or folder of the host")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "`FOLDER` to work in")
	fs.StringVarP(&f.user, "user", "u", "", "`USER[:GROUP]` to be")
	fs.StringVar(&f.platform, "platform", "", "`PLATFORM` of an index, such as linux/arm64 (default this machine's)")
	fs.StringVar(&f.network, "network", "host", "network `MODE`: host or none")
	fs.StringVar(&f.isolation, "isolation", "", isolationUsage("the command"))
	fs.StringVar(&f.runtime, "runtime", "", runtimeUsage("the command"))
	fs.StringVar(&f.entrypoint, "entrypoint", "", "`COMMAND` in place of the image's entrypoint and arguments")
	fs.BoolVarP(&f.interactive, "interactive", "i", true, "attach standard input (always)")
	fs.BoolVarP(&f.tty, "tty", "t", false, "let the command own the terminal: Ctrl-C goes to it alone")
	return cmd
}

func (c *cli) runImage(ctx context.Context, f *runFlags, image string, args []string) error {
	if err := worker.CheckIsolation(f.isolation); err != nil {
		return usagef("--isolation %v", err)
	}
	if err := worker.CheckRuntime(f.runtime); err != nil {
		return usagef("--runtime %v", err)
	}
	if f.runtime != "" && f.tty {
		return usagef("--runtime %s: the command cannot own the terminal (-t)", f.runtime)
	}
	p, err := onePlatform(f.platform)
	if err != nil {
		return err
	}
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	err = cache.Healed(func() error {
		var img *source.Image
		var req *worker.Request
		err := c.interruptible(c.waits(ctx), func(ctx context.Context) (err error) {
			s.images.Store = &faces.Store{Dir: s.dir}
			if img, err = s.image(ctx, image, p); err != nil {
				return err
			}
			if req, err = f.request(img, args); err != nil {
				return err
			}
			req.Layers, err = blobs(ctx, img)
			return err
		})
		if err != nil {
			return err
		}
		err = c.execute(ctx, worker.Options{Store: s.dir.Path(), Isolation: f.isolation, Runtime: f.runtime}, req)
		if _, ran := errors.AsType[*statusError](err); err == nil || ran {
			return err
		}
		return cmp.Or(s.verify(ctx, img.Layers), err) // it could not be unpacked, perhaps
	})
	if _, ran := errors.AsType[*statusError](err); err != nil && !ran && s.damaged.Load() {
		err = s.unhealed(image, err)
	}
	return err
}

// request describes the command to the worker.
func (f *runFlags) request(img *source.Image, args []string) (*worker.Request, error) {
	var config ocispec.Image
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return nil, fmt.Errorf("config of image %q: %w", img.Name, err)
	}
	argv, err := f.argv(config.Config, args)
	if err != nil {
		return nil, err
	}
	r := &worker.Request{Arch: img.Platform.Architecture, Spec: sandbox.Spec{
		Args: argv, Env: environment(config.Config.Env, f.env),
		Cwd: config.Config.WorkingDir, User: config.Config.User,
		Network: sandbox.NetworkHost, Interactive: f.tty,
	}}
	r.Spec.ResolvConf, r.Spec.Hosts = sandbox.ResolvConf(), sandbox.HostsFile("")
	if f.workdir != "" {
		r.Spec.Cwd = f.workdir
	}
	if f.user != "" {
		r.Spec.User = f.user
	}
	switch f.network {
	case "host", "default":
	case "none":
		r.Spec.Network = sandbox.NetworkNone
	default:
		return nil, usagef("--network %q: not one of host, none", f.network)
	}
	for _, v := range f.volumes {
		source, target, readOnly, err := parseVolume(v)
		if err != nil {
			return nil, err
		}
		if !readOnly {
			return nil, usagef("--volume %q: volumes are read-only; say so with :ro", v)
		}
		r.Mounts = append(r.Mounts, worker.Mount{Type: worker.MountHost, Source: source, Target: target, ReadOnly: true})
	}
	return r, nil
}

// argv puts the command together as docker does: arguments replace the image's
// CMD, and an entrypoint of the user's makes the image's CMD void.
func (f *runFlags) argv(config ocispec.ImageConfig, args []string) ([]string, error) {
	entrypoint, cmd := config.Entrypoint, config.Cmd
	if f.entrypointSet {
		entrypoint, cmd = nil, nil
		if f.entrypoint != "" {
			entrypoint = []string{f.entrypoint}
		}
	}
	if len(args) > 0 {
		cmd = args
	}
	argv := append(append([]string{}, entrypoint...), cmd...)
	if len(argv) == 0 {
		return nil, errors.New("the image has neither ENTRYPOINT nor CMD, and no command is given")
	}
	return argv, nil
}

// environment is the image's with the user's on top; later entries win.
func environment(image, flags []string) []string {
	values := map[string]string{}
	var order []string
	set := func(k, v string) {
		if _, ok := values[k]; !ok {
			order = append(order, k)
		}
		values[k] = v
	}
	for _, e := range append([]string{defaultPath}, image...) {
		if k, v, ok := strings.Cut(e, "="); ok {
			set(k, v)
		}
	}
	for _, e := range flags {
		k, v, ok := strings.Cut(e, "=")
		if !ok {
			v, ok = os.LookupEnv(k)
		}
		if ok {
			set(k, v)
		}
	}
	env := make([]string, len(order))
	for i, k := range order {
		env[i] = k + "=" + values[k]
	}
	return env
}

// blobs brings the layers of an image here.
func blobs(ctx context.Context, img *source.Image) ([]snapshot.Layer, error) {
	layers := make([]snapshot.Layer, len(img.Layers))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(4)
	for i, l := range img.Layers {
		eg.Go(func() error {
			b, err := l.Blob(ctx)
			layers[i] = snapshot.Layer{DiffID: l.DiffID, Blob: b.Path, MediaType: b.Descriptor.MediaType}
			return err
		})
	}
	return layers, eg.Wait()
}

// execute runs the command and returns its exit code as an error.
func (c *cli) execute(ctx context.Context, o worker.Options, req *worker.Request) (err error) {
	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	signals := make(chan os.Signal, 1)
	req.Signals = signals
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		c.pass(signals, stop, func() { kill(errInterrupted) })
	}()
	defer func() { close(stop); <-stopped }()

	client, err := worker.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if notice := worker.Notice(client.Isolation); notice != "" {
		fmt.Fprintln(c.stderr, "ocibuild:", notice)
	}
	restore := foreground(c.stdin, req.Spec.Interactive)
	x, err := client.Exec(ctx, req, sandbox.Stdio{Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr})
	restore()
	if err != nil {
		return err
	}
	if err := x.Discard(); err != nil {
		return err
	}
	switch {
	case x.Reason != "":
		return &statusError{code: x.ExitCode, err: errors.New(x.Reason)}
	case x.ExitCode != 0:
		return &statusError{code: x.ExitCode}
	}
	return nil
}

// pass hands signals on, and kills when they do not help: the first process of
// a container ignores signals that it does not ask for.
func (c *cli) pass(to chan<- os.Signal, stop <-chan struct{}, kill func()) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case sig := <-c.signals:
			if n >= patience {
				kill()
				continue
			}
			select {
			case to <- sig:
			default:
			}
		}
	}
}
