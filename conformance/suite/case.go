package suite

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/tools/txtar"
)

// Names of files in a case that are not part of the context.
const (
	argsFile  = "args"
	setupFile = "setup"
)

// contextTime is the time of every file of a context, so that times that a
// builder keeps can be told from times that it makes. BuildKit takes a file of
// the same name, size and time for one that it has: so each case has its own
// nanoseconds.
var contextTime = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// Case is one Dockerfile with its context.
type Case struct {
	Name  string // "group/name"
	Fails string // what both errors say; empty if the case builds
	args  string
	path  string // without ".txtar"
	files []txtar.File
	setup string
}

// Group is the part of the name before the slash.
func (c *Case) Group() string { return strings.SplitN(c.Name, "/", 2)[0] }

// Cases reads the cases below root whose names match.
func Cases(root string, match *regexp.Regexp) ([]*Case, error) {
	var out []*Case
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		name, ok := strings.CutSuffix(p, ".txtar")
		if err != nil || !ok {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || !match.MatchString(filepath.ToSlash(rel)) {
			return err
		}
		c, err := readCase(name, filepath.ToSlash(rel))
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

func readCase(file, name string) (*Case, error) {
	data, err := os.ReadFile(file + ".txtar")
	if err != nil {
		return nil, err
	}
	return NewCase(name, file, txtar.Parse(data))
}

// NewCase makes a case of its archive. Its reference, if it has one, is in file with ".json" behind it.
func NewCase(name, file string, a *txtar.Archive) (*Case, error) {
	c := &Case{Name: name, path: file}
	for line := range strings.Lines(string(a.Comment)) {
		if text, ok := strings.CutPrefix(line, "# fails: "); ok {
			c.Fails = strings.TrimSpace(text)
		}
	}
	for _, f := range a.Files {
		switch f.Name {
		case argsFile:
			c.args = string(f.Data)
		case setupFile:
			c.setup = string(f.Data)
		default:
			c.files = append(c.files, f)
		}
	}
	_, err := c.Args("")
	return c, err
}

// webMark stands for the URL of the case's files, in its flags and Dockerfiles.
const webMark = "@web"

// Args are the flags of the build, for files that are served at web.
func (c *Case) Args(web string) (Args, error) {
	return parseArgs(strings.ReplaceAll(c.args, webMark, web))
}

// Write makes the case's files in dir, which is served at web.
func (c *Case) Write(dir, web string) error {
	for _, f := range c.files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := makeDirs(filepath.Dir(name)); err != nil {
			return err
		}
		if strings.HasSuffix(name, "Dockerfile") {
			f.Data = bytes.ReplaceAll(f.Data, []byte(webMark), []byte(web))
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			return err
		}
		if err := os.Chmod(name, 0o644); err != nil { // whatever the umask
			return err
		}
	}
	scan := bufio.NewScanner(strings.NewReader(c.setup))
	for scan.Scan() {
		if scan.Text() == "" {
			continue
		}
		if err := setup(dir, scan.Text()); err != nil {
			return fmt.Errorf("setup %q: %w", scan.Text(), err)
		}
	}
	h := fnv.New32a()
	h.Write([]byte(c.Name))
	return setTimes(dir, contextTime.Add(time.Duration(h.Sum32()%1e9)))
}

func makeDirs(dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// setTimes gives everything in dir the same time, directories after what is in them.
func setTimes(dir string, t time.Time) error {
	var names []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		names = append(names, p)
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(names)
	for _, n := range names {
		if err := setTime(n, t); err != nil {
			return err
		}
	}
	return nil
}

// decode writes what a file of the context says in base64 to another file.
func decode(dir, from, to string) error {
	data, err := os.ReadFile(filepath.Join(dir, from))
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), ""))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, to), raw, 0o644)
}
