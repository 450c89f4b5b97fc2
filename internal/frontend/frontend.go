// Package frontend is the adapter to BuildKit's Dockerfile frontend, which runs
// here as a library: bytes of a Dockerfile go in, a graph and an image
// configuration come out. All that the language means is decided there; this
// package only answers its questions: which files there are, and what an image
// reference stands for.
package frontend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// The names of the two local directories that a build reads.
const (
	LocalContext    = dockerui.DefaultLocalNameContext
	LocalDockerfile = dockerui.DefaultLocalNameDockerfile
)

// Files reads one file of a local directory by its slash-separated name; the
// error is fs.ErrNotExist if there is none.
type Files func(local, name string) ([]byte, error)

// ImageResolver tells what an image reference stands for.
type ImageResolver interface {
	// ResolveImage returns the digest of the manifest and the raw config.
	ResolveImage(ctx context.Context, ref string, p ocispec.Platform) (digest.Digest, []byte, error)
}

// Options says what to translate.
type Options struct {
	Files    Files
	Filename string // of the Dockerfile in LocalDockerfile; empty means "Dockerfile"
	Target   string // stage; empty means the last
	Args     map[string]string
	Labels   map[string]string
	NoCache  []string         // names of stages that are built anew; empty but not nil means all
	Platform ocispec.Platform // that was asked for; none means Linux on this machine's architecture
	Network  string           // default network of RUN: "", "host", "none"
	Run      Run
	// MultiPlatform tells that Platform is one of several: the names of the
	// steps say then which.
	MultiPlatform bool
	Images        ImageResolver
	// Context is the URL of the main context; empty means LocalContext.
	Context string
	// Contexts are the named contexts: "local:" and a name for Files, a URL, or
	// TargetContext and a stage.
	Contexts map[string]string
	// LocalDockerfile takes the Dockerfile from Files, whatever Context is.
	LocalDockerfile bool
	// Solve builds a graph, to read from what it yields; nil if all contexts
	// are local.
	Solve func(ctx context.Context, g *graph.Graph) (layer.Tree, error)
	// Modified tells when what a graph.HTTP or a graph.Git stands for was last
	// changed; the zero time if nobody knows. Nil if all contexts are local.
	Modified func(ctx context.Context, op graph.Op) (time.Time, error)
	Warn     func(Warning)
}

// Warning is what there is to say of a Dockerfile that can be built. Those of
// BuildKit's linter have the name of their rule.
type Warning struct {
	Rule, Message, URL string
	Line               int // counted from one; 0 is no line
}

// Result is a translated Dockerfile.
type Result struct {
	Graph *graph.Graph
	// Image is the configuration of the image to be, with its history, but
	// without layers.
	Image *dockerspec.DockerOCIImage
	// Base is the configuration of the base image; nil for scratch.
	Base *dockerspec.DockerOCIImage
	// Epoch is SOURCE_DATE_EPOCH; nil if it is not given.
	Epoch *time.Time
}

// Convert translates a Dockerfile. An error about a line is a *graph.LineError.
func Convert(ctx context.Context, o Options) (*Result, error) {
	r, err := read(ctx, &o)
	if err != nil {
		return nil, err
	}
	r.convert.MultiPlatformRequested = o.MultiPlatform
	res, err := ask(ctx, r, dockerfile2llb.Dockerfile2LLB)
	if err != nil {
		return nil, r.located(r.explained(err))
	}
	r.warnOfFilters()
	def, err := res.State.Marshal(ctx)
	if err != nil {
		return nil, r.located(err)
	}
	g, err := graph.Decode(def.ToPB())
	if err != nil {
		return nil, err
	}
	for i := range res.Image.History { // BuildKit leaves the credentials of URLs in
		res.Image.History[i].CreatedBy = graph.Redact(res.Image.History[i].CreatedBy)
	}
	return &Result{Graph: g, Image: res.Image, Base: res.BaseImage, Epoch: res.Epoch}, nil
}

// reading is a Dockerfile that was read, and how it is to be understood.
type reading struct {
	options *Options
	src     *dockerui.Source
	convert dockerfile2llb.ConvertOpt
}

func read(ctx context.Context, o *Options) (*reading, error) {
	gw := &gateway{options: o, opts: o.attributes()}
	var err error
	if gw.inputs, err = o.link(ctx, gw.opts); err != nil {
		return nil, err
	}
	client, err := dockerui.NewClient(gw)
	if err != nil {
		return nil, err
	}
	src, err := client.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil, cmp.Or(gw.failed, err)
	}
	r := &reading{options: o, src: src, convert: dockerfile2llb.ConvertOpt{
		Config: client.Config, Client: client, SourceMap: src.SourceMap,
		MetaResolver: client.GatewayClient(), Warn: o.warn,
	}}
	r.convert.BuildArgs = maps.Clone(r.convert.BuildArgs) // which a SOURCE_DATE_EPOCH changes
	if o.Platform.OS != "" {                              // otherwise an image may be for what its base is for
		platform := platforms.Normalize(o.Platform)
		r.convert.TargetPlatform = &platform
	}
	if err := gw.growth.read(src.Data, o.Args); err != nil {
		return nil, r.located(err)
	}
	return r, r.checkSyntax()
}

// ask hands the Dockerfile to one of BuildKit's functions. One that panics (as
// v0.33.1 does of a check comment in a base image's trigger) must not take the
// process with it: a Dockerfile and its base images may be anybody's.
func ask[T any](ctx context.Context, r *reading, f func(context.Context, []byte, dockerfile2llb.ConvertOpt) (T, error)) (res T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("BuildKit's frontend cannot stand this Dockerfile or a base image of it: %v", p)
		}
	}()
	return f(ctx, r.src.Data, r.convert)
}

// attributes are the options in the frontend's own terms.
func (o *Options) attributes() map[string]string {
	m := map[string]string{}
	set := func(k, v string) {
		if v != "" {
			m[k] = v
		}
	}
	if o.Platform.OS != "" {
		m["platform"] = platforms.Format(platforms.Normalize(o.Platform))
	}
	set("filename", o.Filename)
	set("context", o.Context)
	for k, v := range o.Contexts {
		set("context:"+k, v)
	}
	if o.LocalDockerfile {
		m["dockerfilekey"] = LocalDockerfile
	}
	set("target", o.Target)
	set("force-network-mode", o.Network)
	o.Run.attributes(set)
	if o.NoCache != nil {
		m["no-cache"] = strings.Join(o.NoCache, ",")
	}
	for k, v := range o.Args {
		m["build-arg:"+k] = v
	}
	for k, v := range o.Labels {
		m["label:"+k] = v
	}
	return m
}

func (o *Options) warn(rule, _ /* description */, url, msg string, at []parser.Range) {
	if o.Warn == nil {
		return
	}
	w := Warning{Rule: rule, Message: msg, URL: url}
	if len(at) > 0 {
		w.Line = at[0].Start.Line
	}
	o.Warn(w)
}

// located gives an error the place that the frontend found for it.
func (r *reading) located(err error) error {
	var le *parser.LocationError
	if !errors.As(err, &le) {
		return r.at(err)
	}
	return r.at(err, le.Locations...)
}

// at gives an error a place in the Dockerfile.
func (r *reading) at(err error, ranges ...[]parser.Range) error {
	span := graph.Span{File: r.src.Filename, Data: r.src.Data}
	for _, group := range ranges {
		for _, l := range group {
			span.Lines = append(span.Lines, graph.Range{First: l.Start.Line, Last: l.End.Line})
		}
	}
	return &graph.LineError{Span: span, Err: err}
}
