package floors

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Check reads every package of the module at the root of tree and returns what breaks a rule, one sentence each.
// Other modules nested in it, testdata and hidden folders are not read. Tests may import from any floor: they look at
// the house from outside.
func Check(tree fs.FS) ([]string, error) {
	var broken []string
	err := fs.WalkDir(tree, ".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != "." && skipped(tree, dir) {
			return fs.SkipDir
		}
		found, err := checkDir(tree, dir)
		broken = append(broken, found...)
		return err
	})
	return broken, err
}

func skipped(tree fs.FS, dir string) bool {
	name := path.Base(dir)
	if name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := fs.Stat(tree, path.Join(dir, "go.mod"))
	return err == nil
}

// checkDir looks at the Go files of one folder, whatever system they are for.
func checkDir(tree fs.FS, dir string) ([]string, error) {
	files, err := fs.Glob(tree, path.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if len(files) == 0 {
		return nil, nil
	}
	broken := checkRoom(dir)
	documented := false
	for _, name := range files {
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("imports of %s: %w", name, err)
		}
		documented = documented || file.Doc != nil
		if lines := bytes.Count(src, []byte("\n")); lines > maxLines {
			broken = append(broken, fmt.Sprintf("%s has %d lines: more than %d is two files", name, lines, maxLines))
		}
		broken = append(broken, checkImports(dir, name, file)...)
		broken = append(broken, checkCalls(dir, name, src)...)
	}
	if !documented {
		broken = append(broken, fmt.Sprintf("package %s has no doc comment: say its duty and its promises", dir))
	}
	return broken, nil
}

func checkRoom(dir string) []string {
	var broken []string
	if _, ok := find(dir); !ok {
		broken = append(broken, fmt.Sprintf("package %s is in no row of the table of floors (internal/floors/table.go)", dir))
	}
	if slices.Contains(vague, path.Base(dir)) {
		broken = append(broken, fmt.Sprintf("package %s: the name does not say what is inside; put it beside its user", dir))
	}
	return broken
}

func checkImports(dir, name string, file *ast.File) []string {
	var broken []string
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has taken it, so it is a Go string
		}
		if why := forbidden(dir, target); why != "" {
			broken = append(broken, fmt.Sprintf("%s imports %s: %s", name, target, why))
		}
	}
	return broken
}

func checkCalls(dir, name string, src []byte) []string {
	var broken []string
	for _, c := range calls {
		if bytes.Contains(src, []byte(c.text)) && !slices.Contains(c.only, dir) && dir != "internal/floors" {
			broken = append(broken, fmt.Sprintf("%s calls %s...): %s", name, c.text, c.why))
		}
	}
	return broken
}

// forbidden tells why the package dir may not import target; "" means that it may.
func forbidden(dir, target string) string {
	for _, b := range bans {
		if !beneath(target, b.module) {
			continue
		}
		if b.from != "" && beneath(dir, b.from) || b.only != "" && !beneath(dir, b.only) {
			return b.why
		}
	}
	inner, ok := strings.CutPrefix(target, module+"/")
	if !ok {
		return ""
	}
	here, known := find(dir)
	there, knownThere := find(inner)
	switch {
	case !known:
		return "" // checkRoom has said so
	case !knownThere:
		return "it is in no row of the table of floors"
	case there.floor > here.floor:
		return fmt.Sprintf("imports go down only, and this goes up from floor %d to %d", here.floor, there.floor)
	case there.floor == here.floor && here.path != there.path && !neighbours[[2]string{dir, inner}]:
		return fmt.Sprintf("both are on floor %d, and rooms of one floor do not know each other", here.floor)
	}
	return ""
}

func find(dir string) (room, bool) {
	for _, r := range rooms {
		if dir == r.path || r.all && beneath(dir, r.path) {
			return r, true
		}
	}
	return room{}, false
}

func beneath(name, parent string) bool {
	return name == parent || strings.HasPrefix(name, parent+"/")
}
