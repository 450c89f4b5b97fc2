package suite

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"

	"github.com/ocibuild/ocibuild/internal/source/local"
	"github.com/ocibuild/ocibuild/layer"
)

// FuzzIgnore walks a directory as BuildKit's client does that sends it, and as
// we do. An ignore file, include patterns and the names of files, each a line,
// are what it tries; it begins with those of the cases.
func FuzzIgnore(f *testing.F) {
	const names = "a\nd/a\nd/keep\nd/sub/a\nd/sub/deep/keep\ne/sub/a\ne/.x"
	for _, s := range []string{"*\n!**/keep", "d\n!d/sub/deep", "[^x]b\n!d/[!a]*", "\xef\xbb\xbfa\r\n", "**\n!*/s?b/a", `!\`, "d/**\n!d/**/keep\n**/deep"} {
		f.Add(s, "", names)
		f.Add("", s, names)
	}
	for _, include := range []string{"d\n!d/keep", "!", " !d\nd", "!!x\nd", "\n", "d\n!!d"} {
		f.Add("d/sub", include, names+"\n!x\n!d/a")
	}
	cases, err := Cases("../cases", regexp.MustCompile(""))
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		var ignore string
		var names []string
		for _, file := range c.files {
			if names = append(names, file.Name); strings.HasSuffix(file.Name, ".dockerignore") {
				ignore = string(file.Data)
			}
		}
		if ignore != "" {
			f.Add(ignore, "", strings.Join(names, "\n"))
			f.Add(ignore, "d/*\n**/a", strings.Join(names, "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, ignore, include, names string) {
		dir := t.TempDir()
		if !plantNames(dir, names+"\n.dockerignore") || os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte(ignore), 0o644) != nil {
			return
		}
		var only []string
		if include != "" {
			only = strings.Split(include, "\n")
		}
		got, err := listOurs(t.Context(), dir, only)
		if err != nil {
			return // of a bad pattern, which BuildKit compiles only if it comes to it
		}
		want, err := listBuildKits(t.Context(), dir, []byte(ignore), only)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q without %q:\nours       %q\nBuildKit's %q, %v", only, ignore, got, want, err)
		}
	})
}

func listOurs(ctx context.Context, dir string, include []string) ([]string, error) {
	ignore, _, err := local.ReadIgnore(dir, "")
	if err != nil {
		return nil, err
	}
	l, err := local.Open(dir, ignore, include, nil)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var names []string
	var walk func(string) error
	walk = func(name string) error {
		entries, err := l.ReadDir(ctx, name)
		for _, e := range entries {
			names = append(names, e.Name)
			if e.Type == layer.Directory && err == nil {
				err = walk(e.Name)
			}
		}
		return err
	}
	err = walk(".")
	slices.Sort(names)
	return names, err
}

func listBuildKits(ctx context.Context, dir string, ignore []byte, include []string) ([]string, error) {
	exclude, err := ignorefile.ReadAll(bytes.NewReader(ignore))
	if err != nil {
		return nil, err
	}
	all, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	some, err := fsutil.NewFilterFS(all, &fsutil.FilterOpt{ExcludePatterns: exclude, IncludePatterns: include})
	if err != nil {
		return nil, err
	}
	var names []string
	err = some.Walk(ctx, "", func(name string, _ fs.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	slices.Sort(names)
	return names, err
}

// plantNames makes empty files, or tells that there can be none of these names.
func plantNames(dir, names string) bool {
	all := strings.Split(names, "\n")
	if len(all) > 20 || len(names) > 500 {
		return false
	}
	for _, name := range all {
		if !fs.ValidPath(name) || name == "." || strings.Contains(name, `\`) {
			return false
		}
		file := filepath.Join(dir, name)
		if os.MkdirAll(filepath.Dir(file), 0o755) != nil || os.WriteFile(file, nil, 0o644) != nil {
			return false
		}
	}
	return true
}
