//go:build linux

package threats

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	tableRow  = regexp.MustCompile(`(?m)^\| ([A-Z][0-9]{2}) \|(.*)\|$`)
	tableTest = regexp.MustCompile("`(Test[A-Z][0-9]{2}[A-Za-z0-9]+)`")
)

// TestTheTableIsTrue: README.md names every test, with the row whose number it
// bears, and no others; a row without one says why.
func TestTheTableIsTrue(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Skipf("SKIPPED: needs the sources: %v", err)
	}
	files, err := filepath.Glob("*_test.go")
	must(t, err)
	var tests []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		must(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && tableTest.MatchString("`"+fn.Name.Name+"`") {
				tests = append(tests, fn.Name.Name)
			}
		}
	}
	rows, tested := map[string]bool{}, 0
	for _, row := range tableRow.FindAllStringSubmatch(string(readme), -1) {
		id := row[1]
		if rows[id] {
			t.Errorf("row %s is there twice", id)
		}
		rows[id] = true
		var named []string
		for _, m := range tableTest.FindAllStringSubmatch(row[2], -1) {
			named = append(named, m[1])
		}
		have := slices.DeleteFunc(slices.Clone(tests), func(name string) bool { return !strings.HasPrefix(name, "Test"+id) })
		slices.Sort(have)
		if !slices.Equal(named, have) {
			t.Errorf("row %s names %v, and there are %v", id, named, have)
		}
		if len(have) > 0 {
			tested++
		} else if _, why, ok := strings.Cut(row[2], "none: "); !ok || len(why) < 10 {
			t.Errorf("row %s has no test, and does not say why", id)
		}
	}
	for _, name := range tests {
		if !rows[name[4:7]] {
			t.Errorf("%s bears the number of no row", name)
		}
	}
	if tested < 150 {
		t.Errorf("%d rows have a test", tested)
	}
}
