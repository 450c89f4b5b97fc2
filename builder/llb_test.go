package builder

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// solved builds a graph made in Go and returns the files of the image.
func (p *project) solved(st llb.State, change func(*Options)) (map[string]string, *Result, error) {
	p.t.Helper()
	def, err := st.Marshal(p.t.Context(), llb.LinuxAmd64)
	if err != nil {
		p.t.Fatal(err)
	}
	o := p.options()
	o.Context = ""
	if change != nil {
		change(&o)
	}
	res, err := Solve(p.t.Context(), def, o)
	if err != nil {
		return nil, nil, err
	}
	return files(p.t, res.Images[0]), res, nil
}

func (p *project) mustSolve(st llb.State, want ...string) *Result {
	p.t.Helper()
	got, res, err := p.solved(st, func(o *Options) { o.Contexts = map[string]string{"src": p.dir} })
	if err != nil {
		p.t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		p.t.Errorf("files %q, want %q", names, want)
	}
	return res
}

func TestSolveOfLocalFiles(t *testing.T) {
	p := newProject(t, map[string]string{"a/keep.go": "1", "a/drop.txt": "2", "b/keep.go": "3", "c": "4"})
	all := llb.Local("src")
	p.mustSolve(llb.Scratch().File(llb.Copy(all, "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true})), "a/drop.txt", "a/keep.go", "b/keep.go", "c")
	some := llb.Local("src", llb.IncludePatterns([]string{"*/*.go", "c"}), llb.ExcludePatterns([]string{"b"}))
	p.mustSolve(llb.Scratch().File(llb.Copy(some, "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true})), "a/keep.go", "c")
	_, _, err := p.solved(llb.Scratch().File(llb.Copy(llb.Local("other"), "/", "/")), nil)
	if err == nil || !strings.Contains(err.Error(), `no build context "other"`) {
		t.Errorf("error %v", err)
	}
}

func TestSolveOfMergeAndDiff(t *testing.T) {
	p := newProject(t, nil)
	file := func(st llb.State, name, data string) llb.State {
		return st.File(llb.Mkfile(name, 0o644, []byte(data), llb.WithCreatedTime(time.Unix(1, 0))))
	}
	base := file(file(llb.Scratch(), "/same", "same"), "/old", "old")
	other := file(file(file(llb.Scratch(), "/same", "same"), "/new", "new"), "/old2", "x")

	t.Run("the upper is built on the lower", func(t *testing.T) {
		p.mustSolve(llb.Diff(base, file(base, "/more", "1")), "more")
	})
	t.Run("the inputs have nothing to do with each other", func(t *testing.T) {
		p.mustSolve(llb.Merge([]llb.State{base, llb.Diff(base, other)}), "new", "old2", "same")
		p.mustSolve(llb.Diff(base, other), "new", "old2")
	})
	t.Run("the lower is built on the upper", func(t *testing.T) {
		more := file(base, "/more", "1")
		p.mustSolve(llb.Merge([]llb.State{more, llb.Diff(more, base)}), "old", "same")
	})
	t.Run("a directory and a file change places", func(t *testing.T) {
		a := llb.Scratch().File(llb.Mkdir("/x", 0o755)).File(llb.Mkfile("/x/in", 0o644, nil)).File(llb.Mkfile("/y", 0o644, nil))
		b := llb.Scratch().File(llb.Mkdir("/y", 0o755)).File(llb.Mkfile("/y/in", 0o644, nil)).File(llb.Mkfile("/x", 0o600, nil))
		p.mustSolve(llb.Merge([]llb.State{a, llb.Diff(a, b)}), "x", "y/in")
	})
	t.Run("with nothing", func(t *testing.T) {
		p.mustSolve(llb.Diff(llb.Scratch(), base), "old", "same")
		p.mustSolve(llb.Merge([]llb.State{base, llb.Diff(base, llb.Scratch())}))
	})
}

func TestSolveTakesAConfig(t *testing.T) {
	p := newProject(t, nil)
	config := &dockerspec.DockerOCIImage{}
	config.Config.Cmd = []string{"/run"}
	_, res, err := p.solved(llb.Scratch().File(llb.Mkfile("/run", 0o755, nil)), func(o *Options) { o.Config = config })
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Cmd":["/run"]`, `"architecture":"`, `"os":"linux"`, `"history":[{`} {
		if !strings.Contains(string(res.Images[0].Config), want) {
			t.Errorf("config %s has no %s", res.Images[0].Config, want)
		}
	}
}

func TestSolveRefusesWhatItWouldIgnore(t *testing.T) {
	p := newProject(t, nil)
	for field, change := range map[string]func(*Options){
		"context":       func(o *Options) { o.Context = "." },
		"dockerfile":    func(o *Options) { o.DockerfileData = []byte("FROM scratch") },
		"build-arg":     func(o *Options) { o.Args = map[string]string{"A": "1"} },
		"build-context": func(o *Options) { o.Contexts = map[string]string{"src": filepath.Join(os.TempDir(), "none")} },
	} {
		_, _, err := p.solved(llb.Scratch(), change)
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Field != field {
			t.Errorf("%s: error %v", field, err)
		}
	}
}
