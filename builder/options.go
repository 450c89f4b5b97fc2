// Package builder builds OCI images from Dockerfiles inside the calling
// process: no daemon, and no root where the kernel allows it.
//
//	res, err := builder.Build(ctx, builder.Options{Context: ".", Tags: []string{"app:1"}})
//
// A program that imports this package needs no call in its main. When a build
// has RUN steps, the package re-executes the program's own binary as a worker
// that runs them; the worker is recognised before main starts. Files, network,
// credentials and secrets stay with the calling process.
package builder

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
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
	// name: a directory, a URL as for Context, "docker-image://NAME", or
	// "oci-layout://FOLDER[:TAG][@DIGEST]".
	Contexts map[string]string
	// Target is the stage to build; empty means the last.
	Target string
	// Args are build arguments (ARG), Labels are added to the image.
	Args, Labels map[string]string
	// Tags are the image's names, as users write them: "app", "reg.example/app:1".
	Tags []string
	// Platforms to build for; none means Linux on this machine's architecture.
	// More than one is not supported yet.
	Platforms []ocispec.Platform
	// NoCache does every step anew. Pull asks the registry for base images
	// that the store has already.
	NoCache, Pull bool
	// Network is what RUN sees by default: "" or "host" the host's, "none" nothing.
	Network string
	// Store is the directory of the local store; empty means the user's own
	// (cache.DefaultDir).
	Store string
	// Compression of the layers that are made; nil means layer.Gzip.
	Compression layer.Compression
	// Secrets are what RUN --mount=type=secret may ask for.
	Secrets []Secret
	// Volumes are files and directories of this machine that every RUN sees,
	// read-only. They never become part of a layer or of a cache key.
	Volumes []Volume
	// Registries says how to reach registries. Give the sinks the same one.
	Registries *Registries
	// Sinks take the image. None means the local store.
	Sinks []Sink
	// Progress is told what happens; nil is fine. It must not block.
	Progress func(Event)
	// Jobs is how many steps may work at a time; 0 means 4.
	Jobs int
	// Now is the time of what is made; zero means the time of the call.
	Now time.Time
}

// Secret is the value behind an id of RUN --mount=type=secret.
type Secret struct {
	ID string
	// Value returns the secret; it is called when a step needs it.
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

// Sink takes the results of a build; package builder/output has some.
type Sink interface {
	// Layer tells of a layer that will be part of the image, so that work on it
	// can begin early. It returns without waiting for the layer's blob.
	Layer(ctx context.Context, l *layer.Layer) error
	// Image takes the image; when it returns, all of it is where it belongs.
	Image(ctx context.Context, img *Image) error
}

// Image is a finished image for one platform.
type Image struct {
	Names            []string // full references; empty for an image without a name
	Manifest, Config []byte
	Descriptor       ocispec.Descriptor // of Manifest
	Layers           []*layer.Layer     // lowest first
}

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
	case o.Dockerfile != "" && o.DockerfileData != nil:
		return &OptionError{"dockerfile", "given as a file and as data"}
	case len(o.Platforms) > 1:
		return &OptionError{"platform", "building for more than one platform at a time is not supported yet"}
	case !slices.Contains([]string{"", "default", "host", "none"}, o.Network):
		return &OptionError{"network", fmt.Sprintf("%q is not one of host, none", o.Network)}
	}
	if _, err := o.names(); err != nil {
		return err
	}
	for _, v := range o.Volumes {
		if !filepath.IsAbs(v.Source) || !path.IsAbs(v.Target) {
			return &OptionError{"volume", fmt.Sprintf("%s:%s: both paths must be absolute", v.Source, v.Target)}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(o.Args)) {
		if k == "" || strings.ContainsAny(k, "= ") {
			return &OptionError{"build-arg", fmt.Sprintf("%q is not a name", k)}
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

// platform returns the platform that was asked for; the zero value if none was.
func (o *Options) platform() ocispec.Platform {
	if len(o.Platforms) == 1 {
		return platforms.Normalize(o.Platforms[0])
	}
	return ocispec.Platform{}
}
