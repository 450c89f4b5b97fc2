package builder

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"

	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/frontend"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/solve"
	"github.com/ocibuild/ocibuild/internal/source/local"
	"github.com/ocibuild/ocibuild/layer"
)

// maxDockerfile is the most bytes of a Dockerfile, or of its ignore file.
const maxDockerfile = 16 << 20

var webURL = regexp.MustCompile(`^https?://`)

// IsRemote tells whether a context is a URL and not a directory: of a git
// repository, or of an archive or a Dockerfile on the web. What is a directory
// of that name is one.
func IsRemote(context string) bool {
	if fi, err := os.Stat(context); err == nil && fi.IsDir() {
		return false
	}
	_, isGit, err := dfgitutil.ParseGitRef(context)
	return webURL.MatchString(context) || isGit || err == nil
}

// mainContext is where the files of a build come from.
type mainContext struct {
	url  string // of a remote context, or of what came as a stream; empty for a directory
	temp string // a directory to remove in the end
}

// openContext looks at the context: a stream is read here.
func (b *build) openContext() error {
	switch {
	case b.o.ContextData != nil:
		return b.readContext()
	case IsRemote(b.o.Context):
		b.main.url = b.o.Context
		return nil
	}
	return b.checkFiles()
}

// readContext takes an archive into the store, where it is a context like one
// of the web; anything else is a Dockerfile without a context.
func (b *build) readContext() error {
	data := b.contextData()
	defer data.Close()
	in := bufio.NewReaderSize(data, 64<<10)
	head, err := in.Peek(1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the build context: %w", err)
	}
	if isArchive(head) {
		u, err := b.remotes.upload(b.ctx, in)
		if err != nil {
			return fmt.Errorf("read the build context: %w", err)
		}
		b.main.url = u
		return nil
	}
	if b.o.Dockerfile != "" || b.o.DockerfileData != nil {
		return &OptionError{"context", "it is no archive, and a Dockerfile is given already"}
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDockerfile+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the Dockerfile: %w", err)
	case len(text) > maxDockerfile:
		return &OptionError{"context", fmt.Sprintf("a Dockerfile of more than %d bytes", maxDockerfile)}
	case len(text) == 0:
		return &OptionError{"context", "it is empty: neither an archive nor a Dockerfile"}
	}
	b.o.DockerfileData = text
	if b.main.temp, err = b.dir.TempDir("context-*"); err != nil {
		return err
	}
	b.o.Context = b.main.temp
	return nil
}

// isArchive tells what the frontend unpacks: compressed data, or a tar.
func isArchive(head []byte) bool {
	for _, magic := range []string{"BZh", "\x1f\x8b\x08", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil
}

// solveContext fetches a context for the frontend, which reads the Dockerfile
// from it. What was fetched serves the build itself too.
func (b *build) solveContext(ctx context.Context, g *graph.Graph) (layer.Tree, error) {
	step := g.Result.Step
	switch step.Op.(type) {
	case *graph.HTTP, *graph.Git:
		r, err := b.remotes.find(step.Op)
		if err != nil || r.Ready() {
			return treeOf(ctx, r, err)
		}
		b.tell(step, "start", nil)
		t, err := r.Tree(ctx)
		b.tell(step, "done", err)
		return t, err
	}
	s := b.solver()
	results, err := s.Solve(b.ctx, g)
	if err := failure.Join(err, s.Wait()); err != nil {
		return nil, fmt.Errorf("build context%s: %w", b.fetched(g), err)
	}
	plain := make([]*layer.Layer, len(results[0]))
	for i, l := range results[0] {
		plain[i] = l.Layer
	}
	return layer.NewView(plain), nil
}

// fetched says where the archive of a context was fetched from, if it was.
func (b *build) fetched(g *graph.Graph) string {
	for _, step := range g.Steps {
		if op, ok := step.Op.(*graph.HTTP); ok && b.remotes.uploadOf(op) == nil {
			return " " + graph.Redact(op.URL)
		}
	}
	return ""
}

func treeOf(ctx context.Context, r solve.Remote, err error) (layer.Tree, error) {
	if err != nil {
		return nil, err
	}
	return r.Tree(ctx)
}

func (b *build) tell(step *graph.Step, kind string, err error) {
	if b.o.Progress == nil || step.Name == "" {
		return
	}
	e := Event{Time: time.Now(), Kind: "start", Step: step.ID, Name: step.Name}
	switch {
	case err != nil:
		e.Kind, e.Error = "error", err.Error()
	case kind == "done":
		e.Kind = "done"
	}
	b.o.Progress(e)
}

// dockerfileName is the name of the Dockerfile in its directory, or its path
// in a remote context.
func (b *build) dockerfileName() string {
	switch {
	case b.o.Dockerfile == "":
		return ""
	case b.main.url != "":
		return strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(b.o.Dockerfile)), "/")
	}
	return filepath.Base(b.o.Dockerfile)
}

func (b *build) dockerfileDir() string {
	if b.o.Dockerfile == "" {
		return b.o.Context
	}
	return filepath.Dir(b.o.Dockerfile)
}

// checkFiles finds out early, and in plain words, that there is nothing to read.
func (b *build) checkFiles() error {
	if err := checkDir("context", b.o.Context); err != nil {
		return err
	}
	if b.o.DockerfileData != nil {
		return b.checkIgnore(b.o.Dockerfile)
	}
	names := []string{b.dockerfileName()}
	if names[0] == "" {
		names = []string{"Dockerfile", "dockerfile"}
	}
	for _, n := range names {
		_, err := b.file(frontend.LocalDockerfile, n)
		if err == nil {
			return b.checkIgnore(filepath.Join(b.dockerfileDir(), n))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return &NoDockerfileError{Path: filepath.Join(b.dockerfileDir(), names[0])}
}

// checkIgnore reads the ignore file of a Dockerfile. The frontend takes one that it
// cannot read for none at all.
func (b *build) checkIgnore(dockerfile string) error {
	_, _, err := local.ReadIgnore(b.o.Context, dockerfile)
	return err
}

func checkDir(field, dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &OptionError{field, fmt.Sprintf("there is no directory %s", dir)}
	case err != nil:
		return &OptionError{field, err.Error()}
	case !fi.IsDir():
		return &OptionError{field, fmt.Sprintf("%s is not a directory", dir)}
	}
	return nil
}

// file reads a Dockerfile or an ignore file. A link that leads out of its
// directory is an error.
func (b *build) file(from, name string) ([]byte, error) {
	dir, err := b.contextDir(from)
	if from == frontend.LocalDockerfile {
		if b.o.DockerfileData != nil {
			if name == "Dockerfile" {
				return b.o.DockerfileData, nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		dir, err = b.dockerfileDir(), nil
	}
	if err != nil {
		return nil, err
	}
	inside := strings.TrimPrefix(path.Clean("/"+name), "/")
	data, err := local.ReadInside(dir, inside, maxDockerfile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("read %s: %w", filepath.Join(dir, filepath.FromSlash(inside)), err)
	}
	return data, err
}
