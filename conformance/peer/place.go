package peer

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/ocibuild/ocibuild/conformance/suite"
)

// Place is what both builders need around them.
type Place struct {
	Clock  suite.Clock   // begins with this run
	Dir    string        // where the store and the contexts are
	Mirror string        // has the images of Docker Hub
	Files  *suite.Server // serves the files of cases
}

// written is a case, ready to be built.
type written struct {
	args         suite.Args
	files, image string            // directories of the case's files and of the result
	agents       map[string]string // sockets, by the id of an agent
	temp         string
}

// path is that of a file of the case; a URL stays one.
func (w *written) path(name string) string {
	if isURL(name) {
		return name
	}
	return filepath.Join(w.files, name)
}

func isURL(name string) bool { return strings.Contains(name, "://") }

// build writes a case for the time that a builder takes to make a result of it.
func (p *Place) build(ctx context.Context, c *suite.Case, with func(context.Context, *written) (*suite.Result, error)) (*suite.Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "case-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := &written{files: filepath.Join(dir, "context"), image: filepath.Join(dir, "image"), agents: map[string]string{}, temp: dir}
	if err := os.Mkdir(w.files, 0o755); err != nil {
		return nil, err
	}
	web := p.Files.Serve(c, w.files)
	if err := c.Write(w.files, web); err != nil {
		return nil, err
	}
	if w.args, err = c.Args(web); err != nil {
		return nil, err
	}
	for _, id := range w.args.SSH {
		w.agents[id] = filepath.Join(dir, "agent-"+id)
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "unix", w.agents[id]) // nobody answers: cases look at the socket alone
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // nothing was written to it
	}
	r, err := with(ctx, w)
	if err != nil {
		return nil, err
	}
	return r.Without(web)
}
