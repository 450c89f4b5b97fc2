package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/builder"
)

// buildFlags are the flags of a build as they were written.
type buildFlags struct {
	file, target, network, platform string
	isolation, runtime              string
	args, labels, secrets, volumes  []string
	contexts, annotations, limits   []string
	tags, outputs                   []string
	progress, iidFile, metadataFile string
	noCache, pull, push, quiet      bool
	jobs                            int
	noCacheFilter                   []string
	call                            callFlag
	steps                           stepFlags
	registry                        registryFlags
}

func (c *cli) buildCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use: "build [flags] CONTEXT", Short: "Build an image of a Dockerfile", DisableFlagsInUseLine: true,
		Long: `Build an image of a Dockerfile.

CONTEXT is the folder that COPY and ADD read; or a git repository
(URL#REF:SUBFOLDER); or the URL of an archive or a Dockerfile; or -, which reads
an archive, or a Dockerfile alone, from standard input.

The environment's SOURCE_DATE_EPOCH is a build argument unless one is given.

Exit codes: 0 built, 1 the build failed, 2 wrong usage, 130 interrupted.
--check ends with 1 when it finds something.`,
		Example: `  ocibuild -t app .
  ocibuild -f deploy/Dockerfile --target test --build-arg VERSION=1.2 .
  ocibuild --check .
  ocibuild -t app -o type=oci,dest=app.tar .
  ocibuild -t app https://github.com/me/app.git#v1.2:image
  tar -cz . | ocibuild -t app -
  ocibuild -t registry.example.com/me/app --push .`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := contextOf(cmd, args)
			if err != nil {
				return err
			}
			return c.do(func(ctx context.Context, _ []string) error {
				if f.call.what != "" {
					return c.call(ctx, f, dir)
				}
				return c.build(ctx, f, dir)
			})(cmd, args)
		},
	}
	f.add(cmd)
	return cmd
}

func (f *buildFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.file, "file", "f", "", "`FILE` in place of CONTEXT/Dockerfile; - is standard input")
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, "`NAME[:TAG]` of the image; may be given several times")
	fs.StringArrayVar(&f.args, "build-arg", nil, "`KEY=VALUE` for ARG; KEY alone takes the environment's value")
	fs.StringArrayVar(&f.contexts, "build-context", nil,
		"`NAME=CONTEXT` for FROM NAME and COPY --from=NAME: a folder, a URL,\ndocker-image://IMAGE, oci-layout://FOLDER[:TAG][@DIGEST] or target:STAGE")
	fs.StringArrayVar(&f.labels, "label", nil, "`KEY=VALUE` to add to the image")
	fs.StringArrayVar(&f.annotations, "annotation", nil, "`[TYPE:]KEY=VALUE` to add to the manifest, or to what TYPE says: manifest,\nindex, manifest-descriptor, index-descriptor; manifest[PLATFORM] for one of several")
	fs.StringVar(&f.target, "target", "", "`STAGE` to build instead of the last")
	fs.BoolVar(&f.noCache, "no-cache", false, "do every step anew")
	fs.StringArrayVar(&f.noCacheFilter, "no-cache-filter", nil, "`STAGE[,STAGE]`: do the steps of these anew")
	fs.BoolVar(&f.pull, "pull", false, "ask the registry for base images that the store has")
	fs.StringArrayVarP(&f.outputs, "output", "o", nil,
		"`type=TYPE,dest=PATH`: where the image goes instead of the store:\noci (archive; tar=false: folder), docker (archive), registry, image (the store),\nlocal (the files in a folder; a PATH alone is one), tar (the files);\nrewrite-timestamp=true: no new file is later than SOURCE_DATE_EPOCH")
	fs.BoolVar(&f.push, "push", false, "push to the registry of each -t: -o type=registry")
	fs.StringArrayVar(&f.secrets, "secret", nil, "`id=ID,src=FILE` or id=ID,env=VARIABLE, for RUN --mount=type=secret")
	fs.StringVar(&f.network, "network", "", "network of RUN, `MODE`: host or none (default host)")
	fs.StringVar(&f.isolation, "isolation", "", isolationUsage("RUN"))
	fs.StringVar(&f.runtime, "runtime", "", runtimeUsage("RUN"))
	fs.StringVar(&f.platform, "platform", "", "`PLATFORM` of the image, such as linux/arm64; of several,\nseparated by commas, an index is made")
	fs.StringArrayVarP(&f.volumes, "volume", "v", nil, "`HOST:PATH[:ro]`: show a file or folder of the host to every RUN;\nit is in no layer and no cache key")
	f.steps.add(fs)
	fs.StringVar(&f.progress, "progress", "auto", "`MODE` of showing progress: auto, tty, plain, rawjson or quiet")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print only the image's digest, on standard output: --progress quiet")
	fs.StringVar(&f.iidFile, "iidfile", "", "write the image's digest to this `FILE`")
	fs.StringVar(&f.metadataFile, "metadata-file", "", "write what was built, as JSON, to this `FILE`")
	f.call.add(fs)
	fs.IntVar(&f.jobs, "jobs", 0, "`NUMBER` of steps that work at a time (default 4)")
	fs.StringArrayVar(&f.limits, "limit", nil, limitHelp())
	f.registry.add(fs)
	for _, what := range []string{"provenance", "sbom"} {
		fs.Var(&absent{what}, what, "none is made; false is what --"+what+" may be")
	}
}

// contextOf returns the directory to build, or its URL, or "-". Without the
// word build, what is no directory may as well be a command that was mistyped.
func contextOf(cmd *cobra.Command, args []string) (string, error) {
	if len(args) == 0 {
		return "", usagef(`no CONTEXT is given: the folder to build, "." for this one`)
	}
	if cmd.Parent() == nil && args[0] != "-" && !strings.ContainsAny(args[0], `/\`) {
		if _, err := os.Stat(args[0]); errors.Is(err, fs.ErrNotExist) {
			msg := fmt.Sprintf("%q is no command of ocibuild, and there is no folder of that name to build", args[0])
			if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
				msg += fmt.Sprintf("; did you mean %q?", like[0])
			}
			return "", usagef("%s", msg)
		}
	}
	if len(args) > 1 {
		return "", usagef("a build has one CONTEXT, and %q is a second one; flags have a dash", args[1])
	}
	return args[0], nil
}

// build builds and says what came out.
func (c *cli) build(ctx context.Context, f *buildFlags, dir string) (err error) {
	if f.quiet {
		f.progress = "quiet"
	}
	o, err := f.options(c, dir)
	if err != nil {
		return err
	}
	out, err := f.destinations(c, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	face, complete, err := c.face(f.progress)
	if err != nil {
		return err
	}
	if err := readSecrets(o.Secrets); err != nil {
		return err
	}
	o.Progress, o.Streams = face.Event, f.progress == "rawjson"
	res, err := builder.Build(ctx, *o)
	if cerr := face.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("show progress: %w", cerr)
	}
	if err != nil {
		return explained(err, complete)
	}
	return c.finish(f, res, out)
}

// explained adds the output of a command that failed, if it was not shown.
func explained(err error, shown bool) error {
	var exit *builder.ExitError
	if !errors.As(err, &exit) || shown {
		return err
	}
	return &buildError{err: err, tail: exit.Output}
}
