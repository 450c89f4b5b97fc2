// Package builder builds OCI images from Dockerfiles inside the calling
// process: no daemon, and no root where the kernel allows it.
//
//	res, err := builder.Build(ctx, builder.Options{Context: ".", Tags: []string{"app:1"}})
//
// A program that imports this package needs no call in its main. When a build
// has RUN steps, the package re-executes the program's own binary as a worker
// that runs them; the worker is recognised before main starts. Files, network,
// credentials and secrets stay with the calling process.
//
// The init functions of the other packages of the program run in the worker too,
// those that Go initialises earlier: with an empty environment, in the directory
// "/", and with their standard error in the output of the build. An init that
// needs the environment, starts goroutines or ends the process is at fault there;
// such work belongs in main. Go initialises packages in the order of their import
// paths, each after those it imports: a package that imports this one comes later.
// Options.Worker names another program to be the worker, such as ocibuild itself.
package builder

import (
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/internal/solve"
	"github.com/ocibuild/ocibuild/layer"
)

// Options says what to build, with what, and where the image goes. Only
// Context is required, or ContextData in its place.
type Options struct {
	// Context is the directory that COPY and ADD read, or the URL of one: of a
	// git repository ("https://host/r.git#ref:subdir"), or of an archive or a
	// Dockerfile on the web.
	Context string
	// ContextData is read in place of Context: an archive (tar, plain or
	// compressed), or a Dockerfile for a build without files.
	ContextData io.Reader
	// Dockerfile is the path of the Dockerfile; empty means Context/Dockerfile.
	// In a context that is no directory it is the path there.
	Dockerfile string
	// DockerfileData is the Dockerfile itself, in place of a file.
	DockerfileData []byte
	// Contexts are further contexts for FROM, COPY --from and RUN --mount, by
	// name: a directory, a URL as for Context, "docker-image://NAME",
	// "oci-layout://FOLDER[:TAG][@DIGEST]", or "target:STAGE" of the Dockerfile.
	Contexts map[string]string
	// Target is the stage to build; empty means the last.
	Target string
	// Args are build arguments (ARG), Labels are added to the image.
	Args, Labels map[string]string
	// Tags are the image's names, as users write them: "app", "reg.example/app:1".
	Tags []string
	// Platforms to build for; none means Linux on this machine's architecture.
	// Several give an index of one image each.
	Platforms []ocispec.Platform
	// NoCache does every step anew. Pull asks the registry for base images
	// that the store has already.
	NoCache, Pull bool
	// NoCacheFilter names the stages whose steps are done anew. Unlike with
	// NoCache, what depends on them is taken from the cache if they yield the same.
	NoCacheFilter []string
	// Network is what RUN sees by default: "" or "host" the host's, "none" nothing.
	Network string
	// Isolation is how RUN is kept apart from this machine, one of Isolations;
	// empty means the best way that works here.
	Isolation string
	// Runtime is the name or the path of an OCI runtime, such as runc or crun, that
	// runs the commands of RUN; empty means the sandbox that is built in. It takes
	// the isolation root or userns.
	Runtime string
	// Worker is the absolute path of a program that runs as the worker in place of
	// this one: ocibuild, or any that imports this package in the same release. Then
	// no init function of this program runs there. Empty means this program.
	Worker string
	// Store is the directory of the local store; empty means the user's own
	// (cache.DefaultDir).
	Store string
	// Compression of the layers that are made; nil means layer.Gzip.
	Compression layer.Compression
	// Secrets are what RUN --mount=type=secret may ask for. Where a step prints
	// one, Progress and an ExitError show *** instead.
	Secrets []Secret
	// SSH are the agents that RUN --mount=type=ssh and git may speak to.
	SSH []SSH
	// Allow are rights that a build takes only when it is given them:
	// AllowInsecure and the like.
	Allow []string
	// ExtraHosts are added to /etc/hosts of every RUN.
	ExtraHosts []ExtraHost
	// Limits bound what each RUN takes of the machine.
	Limits Limits
	// Volumes are files and directories of this machine that every RUN sees,
	// read-only. They never become part of a layer or of a cache key.
	Volumes []Volume
	// Bounds are what images, archives and downloads may demand, at most.
	Bounds Bounds
	// Registries says how to reach registries. Give the sinks the same one.
	Registries *Registries
	// Config is the image's configuration for Solve; Build makes its own of the
	// Dockerfile. Platform, layers and missing history are filled in.
	Config *dockerspec.DockerOCIImage
	// Annotations of the manifests and of the index.
	Annotations []Annotation
	// RewriteTimestamps makes no file of the new layers later than the build
	// argument SOURCE_DATE_EPOCH. Layers of base images stay as they are.
	// Without SOURCE_DATE_EPOCH, the build warns and files keep their times.
	RewriteTimestamps bool
	// Sinks take the result. None means the local store, and Keep means the
	// local store beside them.
	Sinks []Sink
	Keep  bool
	// Progress is told what happens; nil is fine. It must not block.
	Progress func(Event)
	// Streams tells in each Event whether a command printed to standard output or
	// to standard error. Without it all output is of stream 1 and comes in the order
	// in which it was printed, which is lost between two streams.
	Streams bool
	// Jobs is how many steps may work at a time; 0 means 4.
	Jobs int
	// Now is the time of what is made; zero means the time of the call.
	Now time.Time
}

// Secret is the value behind an id of RUN --mount=type=secret.
type Secret struct {
	ID string
	// Value returns the secret; it is called when a step needs it. When the build's
	// context ends it is not waited for.
	Value func() ([]byte, error)
}

// Volume shows Source, a path of this machine, at Target in every RUN.
type Volume struct{ Source, Target string }

// Event is something that happens during a build.
type Event = progress.Event

// Error is an error about a place in a Dockerfile.
type Error = graph.LineError

// ExitError is a RUN command that failed, with the last of what it printed.
type ExitError = solve.ExitError

// OptionError is a field of Options that cannot be used.
type OptionError struct{ Field, Reason string }

// Error names the field and what is wrong with it.
func (e *OptionError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Reason) }

// validate refuses what could only fail later, or would be ignored.
func (o *Options) validate() error {
	if err := o.validateContexts(); err != nil {
		return err
	}
	switch {
	case o.Config != nil:
		return &OptionError{"config", "it is for Solve; the Dockerfile says what the configuration is"}
	case o.Dockerfile != "" && o.DockerfileData != nil:
		return &OptionError{"dockerfile", "given as a file and as data"}
	case o.NoCache && len(o.NoCacheFilter) > 0:
		return &OptionError{"no-cache-filter", "given with no-cache, which means all stages"}
	case slices.ContainsFunc(o.NoCacheFilter, func(s string) bool { return s == "" || strings.Contains(s, ",") }):
		return &OptionError{"no-cache-filter", fmt.Sprintf("%q: the name of a stage is empty or has a comma", o.NoCacheFilter)}
	case !slices.Contains([]string{"", "default", "host", "none"}, o.Network):
		return &OptionError{"network", fmt.Sprintf("%q is not one of host, none", o.Network)}
	}
	for _, k := range slices.Sorted(maps.Keys(o.Args)) {
		if k == "" || strings.ContainsAny(k, "= ") {
			return &OptionError{"build-arg", fmt.Sprintf("%q is not a name", k)}
		}
	}
	return o.validateCommon()
}

// validateCommon looks at what Build and Solve have in common.
func (o *Options) validateCommon() error {
	if _, err := o.names(); err != nil {
		return err
	}
	if err := o.validateAnnotations(); err != nil {
		return err
	}
	if err := o.validateRun(); err != nil {
		return err
	}
	if err := o.validateIsolation(); err != nil {
		return err
	}
	if err := o.validateCallbacks(); err != nil {
		return err
	}
	for _, v := range o.Volumes {
		if !filepath.IsAbs(v.Source) || !path.IsAbs(v.Target) {
			return &OptionError{"volume", fmt.Sprintf("%s:%s: both paths must be absolute", v.Source, v.Target)}
		}
	}
	return nil
}

// names returns the tags as full references.
func (o *Options) names() ([]string, error) {
	var names []string
	for _, t := range o.Tags {
		named, err := reference.ParseNormalizedNamed(t)
		if err != nil {
			return nil, &OptionError{"tag", fmt.Sprintf("%q: %v", t, err)}
		}
		if _, ok := named.(reference.Digested); ok {
			return nil, &OptionError{"tag", fmt.Sprintf("%q: a digest cannot be chosen", t)}
		}
		if n := reference.TagNameOnly(named).String(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names, nil
}

// wanted returns the platforms that were asked for; the zero value if none was.
func (o *Options) wanted() []ocispec.Platform {
	if len(o.Platforms) == 0 {
		return []ocispec.Platform{{}}
	}
	out := make([]ocispec.Platform, len(o.Platforms))
	for i, p := range o.Platforms {
		out[i] = platforms.Normalize(p)
	}
	return out
}

// multiPlatform tells that the result is an index.
func (o *Options) multiPlatform() bool {
	forced, err := strconv.ParseBool(o.Args["BUILDKIT_MULTI_PLATFORM"])
	return len(o.wanted()) > 1 || err == nil && forced
}
