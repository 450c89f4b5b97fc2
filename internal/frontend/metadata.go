package frontend

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"

	"github.com/ocibuild/ocibuild/internal/graph"
)

// ResolveSourceMetadata implements sourceresolver.MetaResolver. Of what is no
// image the frontend wants to know a time, for SOURCE_DATE_EPOCH; a local
// directory has none.
func (g *gateway) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	src, err := graph.DecodeSource(op)
	if err != nil {
		return nil, err
	}
	resp := &sourceresolver.MetaResponse{Op: op}
	switch src := src.(type) {
	case *graph.Image:
		_, dgst, config, err := g.ResolveImageConfig(ctx, src.Ref, opt)
		resp.Image = &sourceresolver.ResolveImageResponse{Digest: dgst, Config: config}
		return resp, err
	case *graph.HTTP, *graph.Git:
		return resp, g.modified(ctx, src, resp)
	}
	return resp, nil
}

// modified fills in when a source changed last. All that anybody reads of a
// commit here is who committed it when.
func (g *gateway) modified(ctx context.Context, src graph.Op, resp *sourceresolver.MetaResponse) error {
	if g.options.Modified == nil {
		return fmt.Errorf("source %s: %w", graph.Redact(resp.Op.GetIdentifier()), errNotHere)
	}
	t, err := g.options.Modified(ctx, src)
	if err != nil {
		g.failed = err
		return err
	}
	if _, ok := src.(*graph.Git); ok {
		resp.Git = &sourceresolver.ResolveGitResponse{
			CommitObject: fmt.Appendf(nil, "tree \nauthor \ncommitter <> %d +0000\n\n", t.Unix()),
		}
		return nil
	}
	resp.HTTP = &sourceresolver.ResolveHTTPResponse{}
	if !t.IsZero() {
		resp.HTTP.LastModified = &t
	}
	return nil
}
