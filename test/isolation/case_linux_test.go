package isolation

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// wantFile is the name under which a case has the entries of its layers.
const wantFile = "want"

// buildCase is a build, and what is known of it.
type buildCase struct {
	name, path string
	archive    *txtar.Archive
	flags, env []string
	with       []string
	fails      *regexp.Regexp
	not        map[string]*regexp.Regexp // what a way says that cannot build it, by its name
	differs    map[string]bool           // ways that make another image
	wanted     bool                      // it says what the entries of its layers are
	want       string
	context    string // the folder that has its files
}

func readCases(t *testing.T) []*buildCase {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	must(t, err)
	var all []*buildCase
	for _, path := range paths {
		c, err := readCase(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, c)
	}
	return all
}

func readCase(path string) (*buildCase, error) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	c := &buildCase{
		name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path,
		archive: a, not: map[string]*regexp.Regexp{}, differs: map[string]bool{},
	}
	for line := range strings.Lines(string(a.Comment)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		if err := c.set(key, value); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	for _, f := range a.Files {
		if f.Name == wantFile {
			c.wanted, c.want = true, string(f.Data)
		}
	}
	return c, nil
}

// set takes a line of what is said of a case.
func (c *buildCase) set(key, value string) (err error) {
	way, not := strings.CutPrefix(key, "not ")
	other, differs := strings.CutPrefix(key, "differs ")
	switch {
	case not:
		c.not[way], err = regexp.Compile(value)
	case differs:
		c.differs[other] = true
	case key == "flags":
		c.flags = append(c.flags, strings.Fields(value)...)
	case key == "env":
		c.env = append(c.env, value)
	case key == "with":
		c.with = append(c.with, value)
	case key == "fails":
		c.fails, err = regexp.Compile(value)
	default:
		err = fmt.Errorf("not one of flags, env, with, fails, not, differs")
	}
	return err
}

// write makes the build context, for everybody to read.
func (c *buildCase) write(dir string) error {
	c.context = filepath.Join(dir, c.name)
	files := map[string][]byte{}
	for _, name := range c.with {
		if archives[name] == nil {
			return fmt.Errorf("there is no archive %q", name)
		}
		files[name] = archives[name]()
	}
	for _, f := range c.archive.Files {
		if f.Name != wantFile {
			files[f.Name] = f.Data
		}
	}
	return writeFiles(c.context, files)
}

// writeFiles makes a folder of files that everybody may read, none of which is new.
func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(path, old, old); err != nil {
			return err
		}
	}
	return nil
}

// keep writes what the layers are into the file of a case that says it.
func (c *buildCase) keep(entries string) error {
	for i := range c.archive.Files {
		if c.archive.Files[i].Name == wantFile {
			c.archive.Files[i].Data = []byte(entries)
		}
	}
	return os.WriteFile(c.path, txtar.Format(c.archive), 0o644)
}
