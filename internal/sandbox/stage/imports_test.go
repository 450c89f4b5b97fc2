package stage

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// What the stage imports is initialised before each step of every build.
func TestImportsStayFew(t *testing.T) {
	allowed := " encoding/json errors fmt golang.org/x/sys/unix io os path strconv strings unsafe "
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if name, _ := strconv.Unquote(i.Path.Value); !strings.Contains(allowed, " "+name+" ") {
				t.Errorf("%s imports %s: see the package documentation", e.Name(), name)
			}
		}
	}
}
