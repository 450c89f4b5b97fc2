package stage

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What the stage imports is initialised before each step of every build.
func TestImportsStayFew(t *testing.T) {
	const ours = "github.com/ocibuild/ocibuild/internal/"
	allowed := " bytes encoding/binary encoding/json errors fmt golang.org/x/sys/unix io os path slices strconv strings unsafe " +
		ours + "inroot " + ours + "owner " + ours + "sandbox/notify "
	for _, dir := range []string{".", "../notify", "../../owner", "../../inroot"} {
		checkImports(t, dir, allowed)
	}
}

func checkImports(t *testing.T, dir, allowed string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if name, _ := strconv.Unquote(i.Path.Value); !strings.Contains(allowed, " "+name+" ") {
				t.Errorf("%s/%s imports %s: see the package documentation", dir, e.Name(), name)
			}
		}
	}
}
