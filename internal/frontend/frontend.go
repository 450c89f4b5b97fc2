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
	"maps"
	"strings"

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
	NoCache  []string         // stages that are built anew; empty but not nil means all
	Platform ocispec.Platform // that was asked for; none means Linux on this machine's architecture
	Network  string           // default network of RUN: "", "host", "none"
	Images   ImageResolver
	// Context is the URL of the main context; empty means LocalContext.
	Context string
	// Contexts are the named contexts: "local:" and a name for Files, or a URL.
	Contexts map[string]string
	// LocalDockerfile takes the Dockerfile from Files, whatever Context is.
	LocalDockerfile bool
	// Solve builds a graph, to read from what it yields; nil if all contexts
	// are local.
	Solve func(ctx context.Context, g *graph.Graph) (layer.Tree, error)
	Warn  func(Warning)
}

// Warning is what BuildKit's linter says of a Dockerfile.
type Warning struct {
	Rule, Message, URL string
	Line               int
}

// Result is a translated Dockerfile.
type Result struct {
	Graph *graph.Graph
	// Image is the configuration of the image to be, with its history, but
	// without layers.
	Image *dockerspec.DockerOCIImage
}

// Convert translates a Dockerfile. An error about a line is a *graph.LineError.
func Convert(ctx context.Context, o Options) (*Result, error) {
	gw := &gateway{options: o, opts: o.attributes()}
	client, err := dockerui.NewClient(gw)
	if err != nil {
		return nil, err
	}
	src, err := client.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil, cmp.Or(gw.failed, err)
	}
	opt := dockerfile2llb.ConvertOpt{
		Config: client.Config, Client: client, SourceMap: src.SourceMap,
		MetaResolver: client.GatewayClient(), Warn: o.warn,
	}
	opt.BuildArgs = maps.Clone(opt.BuildArgs)
	if o.Platform.OS != "" { // otherwise an image may be for what its base is for
		platform := platforms.Normalize(o.Platform)
		opt.TargetPlatform = &platform
	}
	res, err := dockerfile2llb.Dockerfile2LLB(ctx, src.Data, opt)
	if err != nil {
		return nil, located(err, src.Filename, src.Data)
	}
	def, err := res.State.Marshal(ctx)
	if err != nil {
		return nil, located(err, src.Filename, src.Data)
	}
	g, err := graph.Decode(def.ToPB())
	if err != nil {
		return nil, err
	}
	for i := range res.Image.History { // BuildKit leaves the credentials of URLs in
		res.Image.History[i].CreatedBy = graph.Redact(res.Image.History[i].CreatedBy)
	}
	return &Result{Graph: g, Image: res.Image}, nil
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
func located(err error, file string, data []byte) error {
	var le *parser.LocationError
	span := graph.Span{File: file, Data: data}
	if errors.As(err, &le) {
		for _, group := range le.Locations {
			for _, r := range group {
				span.Lines = append(span.Lines, graph.Range{First: r.Start.Line, Last: r.End.Line})
			}
		}
	}
	return &graph.LineError{Span: span, Err: err}
}
