package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/solve"
	"github.com/ocibuild/ocibuild/internal/source/git"
	"github.com/ocibuild/ocibuild/internal/source/wait"
	"github.com/ocibuild/ocibuild/internal/source/web"
)

// remotes are the files of a build that come over the network. The frontend
// and the solver share them, so each is asked for once in a build.
type remotes struct {
	web *web.Client
	git *git.Client

	mu        *sync.Mutex
	has       map[string]solve.Remote
	checkouts []*git.Checkout
	uploaded  *web.Upload
}

func (b *build) newRemotes() remotes {
	policy := wait.Policy{Retries: b.o.Registries.Retries, Delay: b.o.Registries.RetryDelay}
	return remotes{
		web: &web.Client{Store: b.dir, Secret: b.secret, Counter: b.o.Registries.Counter, MaxSize: b.o.Bounds.Download,
			Retry: policy},
		git: &git.Client{Store: b.dir, Secret: b.secret, SSHAgent: b.agents.socket, Now: b.o.Now, Retry: policy},
		mu:  &sync.Mutex{}, has: map[string]solve.Remote{},
	}
}

// find returns the files of an HTTP or a Git operation.
func (r *remotes) find(op graph.Op) (solve.Remote, error) {
	data, err := json.Marshal(op)
	if err != nil {
		return nil, err
	}
	id := op.Kind() + string(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has[id] != nil {
		return r.has[id], nil
	}
	switch op := op.(type) {
	case *graph.HTTP:
		r.has[id] = r.web.File(op)
		if u := r.uploadOf(op); u != nil {
			r.has[id] = u
		}
	case *graph.Git:
		c := r.git.Repo(op)
		r.checkouts = append(r.checkouts, c)
		r.has[id] = c
	default:
		return nil, fmt.Errorf("a source of kind %s does not come over the network", op.Kind())
	}
	return r.has[id], nil
}

// modified tells when a source was changed last; the zero time if nobody knows.
func (r *remotes) modified(ctx context.Context, op graph.Op) (time.Time, error) {
	src, err := r.find(op)
	if err != nil {
		return time.Time{}, err
	}
	if dated, ok := src.(interface {
		Modified(ctx context.Context) (time.Time, error)
	}); ok {
		return dated.Modified(ctx)
	}
	return time.Time{}, nil
}

// close removes what was fetched for this build alone.
func (r *remotes) close() error {
	r.web.Close()
	var errs []error
	for _, c := range r.checkouts {
		errs = append(errs, c.Close())
	}
	return failure.Join(errs...)
}
