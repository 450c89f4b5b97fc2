package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
)

// canLimit tells whether this user may make control groups.
func canLimit() bool {
	g, err := cgroup.New(cgroup.Limits{Memory: 64 << 20, Pids: 100})
	return err == nil && g.Remove() == nil
}

// began is when these tests did: older groups are no business of theirs.
var began = time.Now()

// noGroups wants no control group of a worker that has ended: no-groups
func noGroups(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: no-groups")
	}
	ts.Check(filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // others' groups come and go
		}
		if info, err := d.Info(); err != nil || info.ModTime().Before(began) {
			return nil
		}
		rest, ours := strings.CutPrefix(d.Name(), "ocibuild-")
		pid, _, _ := strings.Cut(rest, "-")
		if _, err := os.Stat("/proc/" + pid); ours && errors.Is(err, fs.ErrNotExist) {
			ts.Fatalf("the control group %s is left", path)
		}
		return nil
	}))
}

func TestParseSSH(t *testing.T) {
	for s, want := range map[string]builder.SSH{
		"default":         {ID: "default"},
		"":                {},
		"git=/a":          {ID: "git", Paths: []string{"/a"}},
		"git=/a,/b":       {ID: "git", Paths: []string{"/a", "/b"}},
		"=/a":             {Paths: []string{"/a"}},
		"x=/a,raw=true":   {ID: "x", Paths: []string{"/a"}, Raw: true},
		"x=raw=false,/a":  {ID: "x", Paths: []string{"/a"}},
		"x=/with=equals,": {},
		"x=/a,raw=2":      {},
	} {
		got, err := parseSSH(s)
		if bad := strings.HasSuffix(s, ",") || strings.HasSuffix(s, "2"); bad != (err != nil) {
			t.Errorf("%q: %v", s, err)
		} else if !bad && cmp.Diff(want, got) != "" {
			t.Errorf("%q: %+v, want %+v", s, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"": 0, "1": 1, "12b": 12, "3k": 3 << 10, "3K": 3 << 10, "64m": 64 << 20, "64MiB": 64 << 20, "2g": 2 << 30, "1tb": 1 << 40,
		"m": -1, "0": -1, "-1": -1, "1.5g": -1, "1p": -1, "9999999999t": -1, "1 g": -1, "i": -1,
	} {
		got, err := parseSize("--memory", s)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestParseHost(t *testing.T) {
	for s, want := range map[string]builder.ExtraHost{
		"db:10.1.2.3": {Name: "db", IP: "10.1.2.3"}, "db=10.1.2.3": {Name: "db", IP: "10.1.2.3"},
		"six:::1": {Name: "six", IP: "::1"}, "six:[::1]": {Name: "six", IP: "::1"}, "six=::1": {Name: "six", IP: "::1"},
		"db": {}, "db:": {}, ":10.1.2.3": {},
	} {
		got, err := parseHost(s)
		if (err != nil) != (want.Name == "") || err == nil && got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
}
