package frontend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/ocibuild/ocibuild/internal/graph"
)

var errNotHere = errors.New("the frontend asked for something that only a BuildKit daemon has")

// gateway is what the frontend takes for a BuildKit daemon: it reads files and
// resolves images, and can do nothing else.
type gateway struct {
	options *Options
	opts    map[string]string
	inputs  inputs
	failed  error // why a context could not be had
	lookups atomic.Int32
	growth  growth
}

// maxLookups is how often a Dockerfile may name images. A base image with the
// trigger "COPY --from=ITSELF" names itself without end, and BuildKit follows.
const maxLookups = 1000

// Solve "builds" a definition by finding out which local directory it means, or
// by fetching what is elsewhere.
func (g *gateway) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Frontend != "" {
		return nil, fmt.Errorf("frontend %s: %w", req.Frontend, errNotHere)
	}
	def, err := graph.Decode(req.Definition)
	if err != nil {
		return nil, err
	}
	if def.Result.Step == nil {
		return nil, errNotHere
	}
	res := client.NewResult()
	if local, ok := def.Result.Step.Op.(*graph.Local); ok {
		res.SetRef(&localRef{name: local.Name, files: g.options.Files})
		return res, nil
	}
	if g.options.Solve == nil {
		return nil, fmt.Errorf("reading from %s: %w", def.Result.Step.Op.Kind(), errNotHere)
	}
	tree, err := g.options.Solve(ctx, def)
	if err != nil {
		g.failed = err
		return nil, err
	}
	res.SetRef(&treeRef{tree: tree})
	return res, nil
}

// ResolveImageConfig implements llb.ImageMetaResolver.
func (g *gateway) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	p := platforms.DefaultSpec()
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		p = *opt.ImageOpt.Platform
	}
	if opt.OCILayoutOpt != nil && opt.OCILayoutOpt.Platform != nil {
		p = *opt.OCILayoutOpt.Platform
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", nil, fmt.Errorf("image %q: %w", ref, err)
	}
	full := reference.TagNameOnly(named).String()
	if g.lookups.Add(1) > maxLookups {
		return "", "", nil, fmt.Errorf("image %s: more than %d names of images; does one with ONBUILD lead to itself?", full, maxLookups)
	}
	dgst, config, err := g.options.Images.ResolveImage(ctx, full, p)
	if err == nil {
		err = g.growth.image(config)
	}
	return full, dgst, config, err
}

// BuildOpts claims every capability of LLB; what the engine cannot do is
// refused where the graph is decoded, with the line.
func (g *gateway) BuildOpts() client.BuildOpts {
	return client.BuildOpts{
		Opts:    g.opts,
		Workers: []client.WorkerInfo{{ID: "ocibuild", Platforms: []ocispec.Platform{buildPlatform()}}},
		Product: "ocibuild",
		LLBCaps: pb.Caps.CapSet(pb.Caps.All()),
		Caps:    gatewayCaps(),
	}
}

// gatewayCaps leaves out the inputs that one frontend hands to another.
func gatewayCaps() apicaps.CapSet {
	all := gwpb.Caps.All()
	for i := range all {
		if all[i].ID == string(gwpb.CapFrontendInputs) {
			all[i].Enabled = false
		}
	}
	return gwpb.Caps.CapSet(all)
}

func buildPlatform() ocispec.Platform {
	p := platforms.Normalize(platforms.DefaultSpec())
	if runtime.GOOS != "linux" {
		p.OS = "linux" // images are Linux images wherever they are built
	}
	return p
}

// Inputs returns the contexts that are graphs.
func (g *gateway) Inputs(context.Context) (map[string]llb.State, error) { return g.inputs, nil }

func (g *gateway) NewContainer(context.Context, client.NewContainerRequest) (client.Container, error) {
	return nil, errNotHere
}

func (g *gateway) Warn(context.Context, digest.Digest, string, client.WarnOpts) error { return nil }

// localRef reads files of one local directory.
type localRef struct {
	name  string
	files Files
}

func (r *localRef) ReadFile(_ context.Context, req client.ReadRequest) ([]byte, error) {
	data, err := r.files(r.name, req.Filename)
	if err != nil || req.Range == nil {
		return data, err
	}
	from := min(req.Range.Offset, len(data))
	data = data[from:]
	if n := req.Range.Length; n > 0 {
		data = data[:min(n, len(data))]
	}
	return data, nil
}

func (r *localRef) StatFile(_ context.Context, req client.StatRequest) (*fstypes.Stat, error) {
	data, err := r.files(r.name, req.Path)
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: req.Path, Size: int64(len(data)), Mode: 0o644}, nil
}

func (r *localRef) ReadDir(context.Context, client.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, &fs.PathError{Op: "readdir", Path: r.name, Err: os.ErrNotExist}
}

func (r *localRef) Evaluate(context.Context) error { return nil }

func (r *localRef) ToState() (llb.State, error) { return llb.State{}, errNotHere }
