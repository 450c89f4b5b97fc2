package local

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var ignoreTests = []struct {
	name, file string
	want       []string // nil: all but without
	without    string
}{
	{name: "nothing", file: "", without: ""},
	{name: "comment and blank lines", file: "# a\n\n   \na\n", without: "a"},
	{name: "a # that is not first", file: " # a\n#b.md\n", without: ""},
	{name: "byte order mark", file: "\xef\xbb\xbfa\n", without: "a"},
	{name: "byte order mark before a comment", file: "\xef\xbb\xbf# x\nb.md", without: "b.md"},
	{name: "byte order mark on another line", file: "b.md\n\xef\xbb\xbfa\n", without: "b.md"},
	{name: "CRLF", file: "a\r\nb.md\r\n", without: "a b.md"},
	{name: "spaces around", file: "  a  \t\n\tfoo bar \n", without: "a foo\x00bar"},
	{name: "leading slash", file: "/a\n/d/a", without: "a d/a"},
	{name: "dots and slashes", file: "./a\nd/../b.md\nd/sub/\n", without: "a b.md d/sub/ d/sub/a d/sub/deep/ d/sub/deep/keep"},
	{name: "star stays in its directory", file: "*.md", without: "README.md b.md"},
	{name: "double star", file: "**/*.md", without: "README.md b.md d/z.md"},
	{name: "double star in the middle", file: "d/**/a", without: "d/a d/sub/a"},
	{name: "double star at the end", file: "d/**", without: "d/a d/keep d/sub/ d/sub/a d/sub/deep/ d/sub/deep/keep d/z.md"},
	{name: "name below any directory", file: "**/sub", without: "d/sub/ d/sub/a d/sub/deep/ d/sub/deep/keep e/sub/ e/sub/a"},
	{name: "name in the root only", file: "sub", without: ""},
	{name: "question mark", file: "?", without: "a d/ d/a d/keep d/sub/ d/sub/a d/sub/deep/ d/sub/deep/keep d/z.md e/ e/sub/ e/sub/a l"},
	{name: "escaped class", file: `\[x\]`, without: "[x]"},
	{name: "class", file: "[ab]*", without: "a b.md"},
	{name: "negation", file: "*.md\n!README.md", without: "b.md"},
	{name: "the last match wins", file: "*.md\n!README.md\nREADME*", without: "README.md b.md"},
	{name: "negation with a space and a slash", file: "*.md\n! /README.md", without: "b.md"},
	{name: "file below a left-out directory", file: "d\n!d/sub/deep/keep", without: "d/a d/keep d/sub/a d/z.md"},
	{name: "files below any left-out directory", file: "*\n!**/keep", want: []string{"d/", "d/keep", "d/sub/", "d/sub/deep/", "d/sub/deep/keep"}},
	{name: "star below a left-out directory", file: "**\n!*/sub/a", want: []string{"d/", "d/sub/", "d/sub/a", "e/", "e/sub/", "e/sub/a"}},
	{name: "directory inside a left-out one", file: "d\n!d/sub\nd/sub/a", without: "d/a d/keep d/sub/a d/z.md"},
	{name: "everything and nothing back", file: "*\n!nothing/here", want: []string{}},
	{name: "an empty directory back", file: "*\n!empty", want: []string{"empty/"}},
	{name: "link is a name, not what it leads to", file: "l\n!l/keep", without: "l"},
	{name: "everything", file: "**", want: []string{}},
	{name: "the root cannot go", file: ".", without: ""},
}

func TestIgnore(t *testing.T) {
	files := map[string]string{
		"a": "", "b.md": "", "README.md": "", "foo bar": "", "[x]": "",
		"d/a": "", "d/keep": "", "d/sub/a": "", "d/sub/deep/keep": "", "d/z.md": "",
		"e/sub/a": "", "empty/": "", "l": "-> d",
	}
	all := []string{"README.md", "[x]", "a", "b.md", "d/", "d/a", "d/keep", "d/sub/", "d/sub/a", "d/sub/deep/", "d/sub/deep/keep", "d/z.md",
		"e/", "e/sub/", "e/sub/a", "empty/", "foo bar", "l"}
	for _, tt := range ignoreTests {
		t.Run(tt.name, func(t *testing.T) {
			dir := plant(t, files)
			patterns, err := parseIgnore([]byte(tt.file), ".dockerignore")
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want == nil {
				want = minus(all, strings.Fields(tt.without))
			}
			got := walk(t, open(t, dir, patterns, nil), ".")
			if diff := cmp.Diff(want, got, cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			checkLookups(t, dir, patterns, all, got)
		})
	}
}

func minus(all, without []string) []string {
	left := []string{}
	gone := map[string]bool{}
	for _, w := range without {
		gone[strings.ReplaceAll(w, "\x00", " ")] = true
	}
	for _, name := range all {
		if !gone[name] {
			left = append(left, name)
		}
	}
	return left
}

// checkLookups holds Lookup on a fresh tree against what ReadDir showed.
func checkLookups(t *testing.T, dir string, patterns, all, shown []string) {
	t.Helper()
	has := map[string]bool{}
	for _, name := range shown {
		has[name] = true
	}
	for _, name := range all {
		_, err := open(t, dir, patterns, nil).Lookup(t.Context(), strings.TrimSuffix(name, "/"))
		if has[name] && err != nil {
			t.Errorf("Lookup of what is shown: %v", err)
		}
		if !has[name] && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%s) of what is left out: %v", name, err)
		}
		if !has[name] && err != nil && !strings.Contains(err.Error(), "ignore file") {
			t.Errorf("the error does not say that it is left out: %v", err)
		}
	}
}

func TestIgnoredFilesAreNotOpenedByName(t *testing.T) {
	dir := plant(t, map[string]string{"d/secret": "x", "d/y": ""})
	l := open(t, dir, []string{"d/secret"}, nil)
	e, err := l.Lookup(t.Context(), "d/y")
	if err != nil {
		t.Fatal(err)
	}
	e.Name, e.Size = "d/secret", 1
	if _, err := l.Open(t.Context(), e); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
	if _, err := l.Digest(t.Context(), e); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Digest: %v", err)
	}
}

func TestReadIgnorePlaces(t *testing.T) {
	outside := plant(t, map[string]string{"shadow": "root:x", "Other.dockerignore": "other\n"})
	dir := plant(t, map[string]string{
		".dockerignore": "general\n", "app.Dockerfile": "", "app.Dockerfile.dockerignore": "own\n",
		"empty.dockerignore": "", "link.dockerignore": "-> app.Dockerfile.dockerignore",
		"evil.dockerignore": "-> " + outside + "/shadow", "dir.dockerignore/": "",
	})
	tests := []struct {
		dockerfile string
		patterns   []string
		file, err  string
	}{
		{"", []string{"general"}, ".dockerignore", ""},
		{filepath.Join(dir, "Dockerfile"), []string{"general"}, ".dockerignore", ""},
		{filepath.Join(dir, "app.Dockerfile"), []string{"own"}, "app.Dockerfile.dockerignore", ""},
		{filepath.Join(dir, "empty"), nil, "empty.dockerignore", ""},
		{filepath.Join(dir, "link"), []string{"own"}, "link.dockerignore", ""},
		{filepath.Join(outside, "Other"), []string{"other"}, filepath.Join(outside, "Other.dockerignore"), ""},
		{filepath.Join(dir, "evil"), nil, "evil.dockerignore", "evil.dockerignore: path escapes from parent"},
		{filepath.Join(dir, "dir"), nil, "dir.dockerignore", "dir.dockerignore: not a regular file"},
	}
	for _, tt := range tests {
		patterns, file, err := ReadIgnore(dir, tt.dockerfile)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.err)) {
			t.Errorf("%s: %v; want %q", tt.dockerfile, err, tt.err)
		}
		if diff := cmp.Diff(tt.patterns, patterns); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.dockerfile, diff)
		}
		if !filepath.IsAbs(tt.file) {
			tt.file = filepath.Join(dir, tt.file)
		}
		if file != tt.file {
			t.Errorf("%s: read %s, want %s", tt.dockerfile, file, tt.file)
		}
	}
	if patterns, file, err := ReadIgnore(t.TempDir(), ""); patterns != nil || file != "" || err != nil {
		t.Errorf("no file: %v, %q, %v", patterns, file, err)
	}
}

func TestReadIgnoreBadPatterns(t *testing.T) {
	for _, bad := range []string{"[", "[a-", `\`, "!", "! ", "![", "!/", "[]", "a\x00b", strings.Repeat("a", 1<<20)} {
		dir := plant(t, map[string]string{".dockerignore": "# one\nok\n" + bad + "\nok\n"})
		_, _, err := ReadIgnore(dir, "")
		if err == nil || !strings.Contains(err.Error(), ".dockerignore:3: ") {
			t.Errorf("%.10q: %v; want an error about line 3", bad, err)
		}
	}
	for _, good := range []string{"!!", "**", "**/", "!**", ".", "..", "/", "!.", "***", "{a,b}", "a(b", "**a**b**"} {
		dir := plant(t, map[string]string{".dockerignore": good, "x/y": ""})
		patterns, _, err := ReadIgnore(dir, "")
		if err != nil {
			t.Errorf("%q: %v", good, err)
			continue
		}
		walk(t, open(t, dir, patterns, nil), ".")
	}
}
