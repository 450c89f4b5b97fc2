package ports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/ocibuild/ocibuild"

// ports are what the module compiles on. RUN needs Linux; elsewhere it is a clear error.
var ports = []string{
	"linux/amd64", "linux/arm64", "linux/386", "linux/arm", "linux/riscv64", "linux/ppc64le", "linux/s390x", "linux/loong64",
	"darwin/arm64", "darwin/amd64", "windows/amd64", "windows/arm64", "freebsd/amd64", "netbsd/amd64", "openbsd/amd64",
}

// TestF1CompilesOnEveryPort type-checks all packages for all ports. The bodies of
// functions count in this module only: a dependency is checked by what it declares.
func TestF1CompilesOnEveryPort(t *testing.T) {
	asked := ports
	if only := os.Getenv("OCIBUILD_PORTS"); only != "" {
		asked = strings.Fields(only)
	}
	parsed := &sources{files: map[string]*ast.File{}, fset: token.NewFileSet()}
	for _, port := range asked {
		t.Run(strings.ReplaceAll(port, "/", "-"), func(t *testing.T) {
			goos, goarch, _ := strings.Cut(port, "/")
			c := &checker{sources: parsed, sizes: types.SizesFor("gc", goarch), done: map[string]*types.Package{}}
			for _, p := range list(t, goos, goarch) {
				for _, err := range c.check(p) {
					t.Error(err)
				}
			}
		})
	}
}

// listed is a package as "go list" tells it.
type listed struct {
	ImportPath, Dir string
	GoFiles         []string
	CgoFiles        []string
	ImportMap       map[string]string
	Module          *struct{ Path, GoVersion string }
	Error           *struct{ Err string }
}

// list returns all packages and what they depend on, dependencies first.
func list(t *testing.T, goos, goarch string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-pgo=off", "-json=ImportPath,Dir,GoFiles,CgoFiles,ImportMap,Module,Error", module+"/...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var out []listed
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
}

// sources are the files that were parsed, which most ports have in common.
type sources struct {
	fset  *token.FileSet
	files map[string]*ast.File
}

func (s *sources) parse(name string) (*ast.File, error) {
	if f := s.files[name]; f != nil {
		return f, nil
	}
	f, err := parser.ParseFile(s.fset, name, nil, parser.SkipObjectResolution)
	s.files[name] = f
	return f, err
}

// checker type-checks the packages of one port.
type checker struct {
	*sources
	sizes types.Sizes
	done  map[string]*types.Package
}

func (c *checker) check(p listed) []error {
	ours := p.Module != nil && p.Module.Path == module
	if p.ImportPath == "unsafe" {
		return nil
	}
	if p.Error != nil {
		return []error{fmt.Errorf("%s: %s", p.ImportPath, p.Error.Err)}
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := c.parse(filepath.Join(p.Dir, name))
		if err != nil {
			return []error{err}
		}
		files = append(files, f)
	}
	var errs []error
	conf := types.Config{
		Importer: importer{c, p.ImportMap}, Sizes: c.sizes, IgnoreFuncBodies: !ours, FakeImportC: true,
		Error: func(err error) { errs = append(errs, err) },
	}
	if p.Module != nil && p.Module.GoVersion != "" {
		conf.GoVersion = "go" + p.Module.GoVersion
	}
	pkg, _ := conf.Check(p.ImportPath, c.fset, files, nil) // Error has been told all
	c.done[p.ImportPath] = pkg
	if !ours {
		return nil // a part of it that matters is missed by us
	}
	return errs
}

type importer struct {
	c       *checker
	renamed map[string]string // of the standard library's own vendored packages
}

func (i importer) Import(path string) (*types.Package, error) {
	path = cmp.Or(i.renamed[path], path)
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	if p := i.c.done[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s is not checked yet", path)
}
