package layer

import (
	"path"
	"strings"
	"testing"
)

func FuzzCheckName(f *testing.F) {
	for _, name := range []string{
		"", ".", "..", "/", "a", "a/", "/a", "a//b", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b", "a/..b/.c", "...", "a/...",
		strings.Repeat("a", maxComponent), strings.Repeat("a", maxComponent+1), "a/" + strings.Repeat("b", maxComponent) + "/c",
		"a/" + strings.Repeat("b", maxComponent+1) + "/c", strings.Repeat("ab/", 200) + "c",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		want := name != "" && len(name) <= maxName && name[0] != '/' && path.Clean(name) == name && name != ".." &&
			!strings.HasPrefix(name, "../") && !strings.Contains(name, "\x00")
		for part := range strings.SplitSeq(name, "/") {
			want = want && len(part) <= maxComponent
		}
		if err := checkName(name); (err == nil) != want {
			t.Errorf("%q: %v, want %t", name, err, want)
		}
	})
}
