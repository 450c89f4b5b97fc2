package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestParity builds every case and compares it with what BuildKit built.
func TestParity(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), nil, &out, t.Output())
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
}

// TestSubtletiesHaveTheirProofs wants a row for each of them, and what the rows name to be there.
func TestSubtletiesHaveTheirProofs(t *testing.T) {
	data, err := os.ReadFile("SUBTLETIES.md")
	if err != nil {
		t.Fatal(err)
	}
	const subtleties = 62
	rows := map[string]bool{}
	tests := goTests(t)
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, "|")
		proofs := named.FindAllStringSubmatch(cells[max(len(cells)-2, 0)], -1)
		if len(cells) < 4 || len(proofs) == 0 {
			continue
		}
		rows[strings.TrimSpace(cells[1])] = true
		for _, p := range proofs {
			if !there(p[1], tests) {
				t.Errorf("%s: there is no %s", strings.TrimSpace(cells[1]), p[1])
			}
		}
	}
	for i := range subtleties {
		if n := strconv.Itoa(i + 1); !rows[n] {
			t.Errorf("subtlety %s has no proof", n)
		}
	}
}

var named = regexp.MustCompile("`([^`]+)`")

// there tells whether a case, a script or a test exists.
func there(name string, tests map[string]bool) bool {
	file := filepath.Join("cases", name+".txtar")
	switch {
	case strings.HasSuffix(name, ".txtar"):
		file = filepath.Join("../cmd/ocibuild/testdata/script", name)
	case !strings.Contains(name, "/"):
		return tests[name]
	}
	_, err := os.Stat(file)
	return err == nil
}

// goTests finds the names of the project's tests.
func goTests(t *testing.T) map[string]bool {
	t.Helper()
	decl := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	all := map[string]bool{}
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // another test's
			return nil
		}
		if err != nil || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		data, err := os.ReadFile(p)
		for _, m := range decl.FindAllSubmatch(data, -1) {
			all[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
