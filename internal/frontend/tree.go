package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/ocibuild/ocibuild/layer"
)

// maxRead is the most bytes of one file that the frontend gets.
const maxRead = 64 << 20

// treeRef reads files of a context that is no local directory. Symbolic links
// are followed inside of it only.
type treeRef struct{ tree layer.Tree }

func (r *treeRef) find(ctx context.Context, name string) (layer.Entry, error) {
	real, err := layer.Resolve(ctx, r.tree, name, true)
	if err != nil {
		return layer.Entry{}, err
	}
	e, err := r.tree.Lookup(ctx, real)
	if errors.Is(err, fs.ErrNotExist) {
		return e, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err == nil && e.Type != layer.Regular {
		err = fmt.Errorf("%s in the build context is not a file", name)
	}
	return e, err
}

// ReadFile implements client.Reference.
func (r *treeRef) ReadFile(ctx context.Context, req client.ReadRequest) ([]byte, error) {
	e, err := r.find(ctx, req.Filename)
	if err != nil {
		return nil, err
	}
	f, err := r.tree.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	limit := int64(maxRead)
	if req.Range != nil {
		if _, err := io.CopyN(io.Discard, f, int64(req.Range.Offset)); err != nil {
			return nil, err
		}
		if n := int64(req.Range.Length); n > 0 {
			limit = min(limit, n)
		}
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// StatFile implements client.Reference.
func (r *treeRef) StatFile(ctx context.Context, req client.StatRequest) (*fstypes.Stat, error) {
	e, err := r.find(ctx, req.Path)
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: req.Path, Size: e.Size, Mode: e.Mode}, nil
}

// ReadDir implements client.Reference; nobody asks.
func (r *treeRef) ReadDir(_ context.Context, req client.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, &fs.PathError{Op: "readdir", Path: req.Path, Err: os.ErrNotExist}
}

// Evaluate implements client.Reference.
func (r *treeRef) Evaluate(context.Context) error { return nil }

// ToState implements client.Reference.
func (r *treeRef) ToState() (llb.State, error) { return llb.State{}, errNotHere }
