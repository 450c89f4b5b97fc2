//go:build linux

package threats

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// modules is go.mod.
func modules(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Skipf("SKIPPED: needs the sources: %v", err)
	}
	return string(data)
}

// TestL02GoThatContains: os.Root had four ways out before Go 1.26.5.
func TestL02GoThatContains(t *testing.T) {
	for line := range strings.Lines(modules(t)) {
		version, ok := strings.CutPrefix(strings.TrimSpace(line), "go ")
		if !ok {
			continue
		}
		parts := append(strings.Split(version, "."), "0", "0")
		minor, err := strconv.Atoi(parts[1])
		must(t, err)
		patch, err := strconv.Atoi(parts[2])
		must(t, err)
		if minor < 26 || minor == 26 && patch < 5 {
			t.Errorf("go.mod is content with Go %s; os.Root is safe from 1.26.5 on", version)
		}
	}
}

// TestL06NoGitOfOurOwn: reimplementations of git have been a stream of escapes.
func TestL06NoGitOfOurOwn(t *testing.T) {
	if strings.Contains(modules(t), "go-git") {
		t.Error("go.mod has go-git")
	}
}

// TestL07NoPathsThatAreCheckedAndThenUsed: what joins and checks paths, and opens
// them later, has no place where others can swap things.
func TestL07NoPathsThatAreCheckedAndThenUsed(t *testing.T) {
	for _, name := range []string{"github.com/cyphar/filepath-securejoin ", "github.com/containerd/continuity/fs ", "github.com/moby/go-archive "} {
		for line := range strings.Lines(modules(t)) {
			if strings.Contains(line, name) && !strings.Contains(line, "// indirect") {
				t.Errorf("go.mod has %s", line)
			}
		}
	}
}
