package builder

import (
	"context"
	"io"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/web"
)

// uploadHost is no host at all: BuildKit's frontend takes a context that came
// as a stream for a file of the web, and this is how it is called there.
const uploadHost = "http://buildkit-session/"

// upload takes a stream into the store and returns the URL that stands for it
// in this build.
func (r *remotes) upload(ctx context.Context, in io.Reader) (string, error) {
	u, err := web.NewUpload(ctx, r.web.Store, in)
	if err != nil {
		return "", err
	}
	r.uploaded = u
	return uploadHost + u.Digest().Encoded(), nil
}

// uploadOf returns what op means if it is the stream.
func (r *remotes) uploadOf(op *graph.HTTP) *web.Upload {
	if r.uploaded == nil || op.URL != uploadHost+r.uploaded.Digest().Encoded() {
		return nil
	}
	return r.uploaded.As(op.Filename)
}
