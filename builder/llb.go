package builder

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// Solve builds what a Go program has put together with BuildKit's client/llb,
// in this process, and hands it to the sinks like Build.
//
//	def, err := llb.Image("busybox").Run(llb.Shlex("make -C /src")).Root().Marshal(ctx)
//	res, err := builder.Solve(ctx, def, builder.Options{Tags: []string{"app:1"}})
//
// llb.Local(NAME) is the directory Contexts[NAME]. The configuration of the
// image is Config, for the one platform in Platforms; fields of the options
// that speak of a Dockerfile must be empty.
func Solve(ctx context.Context, def *llb.Definition, o Options) (*Result, error) {
	if err := checkContext(ctx, o.validateSolve); err != nil {
		return nil, err
	}
	if def == nil {
		return nil, &OptionError{"definition", "it is nil"}
	}
	g, err := graph.Decode(def.ToPB())
	if err != nil {
		return nil, err
	}
	b, err := newBuild(ctx, o)
	if err != nil {
		return nil, err
	}
	return b.finish(b.checked(func() (*Result, error) { return b.solveGraph(g) }))
}

// validateSolve refuses what Solve would ignore.
func (o *Options) validateSolve() error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"context", o.Context != "" || o.ContextData != nil},
		{"dockerfile", o.Dockerfile != "" || o.DockerfileData != nil},
		{"target", o.Target != ""},
		{"build-arg", len(o.Args) > 0},
		{"label", len(o.Labels) > 0},
		{"no-cache-filter", o.NoCacheFilter != nil},
		{"network", o.Network != ""},
		{"add-host", len(o.ExtraHosts) > 0},
		{"limits", o.Limits.forDockerfile()},
		{"rewrite-timestamp", o.RewriteTimestamps},
	} {
		if f.set {
			return &OptionError{f.name, "it means nothing to a graph, which says itself what is to be done"}
		}
	}
	if len(o.wanted()) > 1 {
		return &OptionError{"platform", "a graph is for one platform"}
	}
	for name, dir := range o.Contexts {
		if err := checkDir("build-context", dir); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return o.validateCommon()
}

// solveGraph builds a graph that came without a Dockerfile.
func (b *build) solveGraph(g *graph.Graph) (*Result, error) {
	b.bare = true
	for name, dir := range b.o.Contexts {
		b.dirs[name] = dir
	}
	if b.o.NoCache {
		for _, s := range g.Steps {
			s.NoCache = true
		}
	}
	p := &part{graph: g, platform: b.o.wanted()[0]}
	if p.platform.OS == "" {
		p.platform = platforms.Normalize(platforms.DefaultSpec())
		p.platform.OS = "linux"
	}
	p.config = b.o.Config
	if p.config == nil {
		p.config = plainConfig()
	}
	config := *p.config
	config.Platform = p.platform
	config.History = slices.Clone(config.History)
	p.config = &config
	return b.solve([]*part{p})
}

// plainConfig is what BuildKit gives an image that nobody has configured.
func plainConfig() *dockerspec.DockerOCIImage {
	var c dockerspec.DockerOCIImage
	c.Config.ImageConfig = ocispec.ImageConfig{
		WorkingDir: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	return &c
}
