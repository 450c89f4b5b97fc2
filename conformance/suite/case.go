package suite

import (
	"bufio"
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
	Args  Args
	path  string // without ".txtar"
	files []txtar.File
	setup string
}

// Args are the flags of a build.
type Args struct {
	BuildArgs, Labels, Secrets      map[string]string
	Target, File, Network, Platform string
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
	a := txtar.Parse(data)
	c := &Case{Name: name, path: file}
	for line := range strings.Lines(string(a.Comment)) {
		if text, ok := strings.CutPrefix(line, "# fails: "); ok {
			c.Fails = strings.TrimSpace(text)
		}
	}
	for _, f := range a.Files {
		switch f.Name {
		case argsFile:
			if c.Args, err = parseArgs(string(f.Data)); err != nil {
				return nil, err
			}
		case setupFile:
			c.setup = string(f.Data)
		default:
			c.files = append(c.files, f)
		}
	}
	return c, nil
}

// parseArgs reads flags, one a line: a name, and its value after a space.
func parseArgs(text string) (Args, error) {
	a := Args{BuildArgs: map[string]string{}, Labels: map[string]string{}, Secrets: map[string]string{}}
	single := map[string]*string{"target": &a.Target, "file": &a.File, "network": &a.Network, "platform": &a.Platform}
	pairs := map[string]map[string]string{"build-arg": a.BuildArgs, "label": a.Labels, "secret": a.Secrets}
	for line := range strings.Lines(text) {
		flag, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		if to := single[flag]; to != nil {
			*to = value
			continue
		}
		k, v, ok := strings.Cut(value, "=")
		if pairs[flag] == nil || !ok {
			return a, fmt.Errorf("args: %q", line)
		}
		pairs[flag][k] = v
	}
	return a, nil
}

// Write makes the context in dir.
func (c *Case) Write(dir string) error {
	for _, f := range c.files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := makeDirs(filepath.Dir(name)); err != nil {
			return err
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
