package floors

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestTheHouseStands(t *testing.T) {
	broken, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// The rules are worth something only if they can be broken.
func TestCheckFindsWhatBreaksARule(t *testing.T) {
	const doc = "// Package p does what it says.\n"
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{
			name:  "an import that goes down is fine",
			files: map[string]string{"builder/b.go": doc + "package builder\nimport \"github.com/ocibuild/ocibuild/layer\""},
		},
		{
			name:  "an import that goes up",
			files: map[string]string{"layer/l.go": doc + "package layer\nimport \"github.com/ocibuild/ocibuild/builder\""},
			want: []string{"layer/l.go imports github.com/ocibuild/ocibuild/builder: " +
				"imports go down only, and this goes up from floor 0 to 4"},
		},
		{
			name:  "an import that goes up in a file for another system",
			files: map[string]string{"layer/l_windows.go": doc + "package layer\nimport \"github.com/ocibuild/ocibuild/builder\""},
			want: []string{"layer/l_windows.go imports github.com/ocibuild/ocibuild/builder: " +
				"imports go down only, and this goes up from floor 0 to 4"},
		},
		{
			name:  "a neighbour",
			files: map[string]string{"cache/c.go": doc + "package cache\nimport \"github.com/ocibuild/ocibuild/layer\""},
			want: []string{"cache/c.go imports github.com/ocibuild/ocibuild/layer: " +
				"both are on floor 0, and rooms of one floor do not know each other"},
		},
		{
			name:  "parts of one program know each other",
			files: map[string]string{"cmd/ocibuild/c.go": doc + "package main\nimport \"github.com/ocibuild/ocibuild/cmd/ocibuild/flags\""},
		},
		{
			name:  "BuildKit in layer",
			files: map[string]string{"layer/l.go": doc + "package layer\nimport \"github.com/moby/buildkit/solver/pb\""},
			want: []string{"layer/l.go imports github.com/moby/buildkit/solver/pb: " +
				"layer is a library of its own and knows no BuildKit"},
		},
		{
			name:  "BuildKit where it belongs",
			files: map[string]string{"internal/graph/g.go": doc + "package graph\nimport \"github.com/moby/buildkit/solver/pb\""},
		},
		{
			name:  "BuildKit in a package beneath cache",
			files: map[string]string{"cache/registry/r.go": doc + "package registry\nimport \"github.com/moby/buildkit/client\""},
			want: []string{"cache/registry/r.go imports github.com/moby/buildkit/client: " +
				"cache is a library of its own and knows no BuildKit"},
		},
		{
			name:  "a cloud's library outside of its package",
			files: map[string]string{"internal/source/s.go": doc + "package source\nimport \"github.com/minio/minio-go/v7\""},
			want: []string{"internal/source/s.go imports github.com/minio/minio-go/v7: " +
				"a cloud's library lives alone in its package"},
		},
		{
			name:  "a package without a row",
			files: map[string]string{"internal/attic/a.go": doc + "package attic"},
			want:  []string{"package internal/attic is in no row of the table of floors (internal/floors/table.go)"},
		},
		{
			name:  "a name that says nothing",
			files: map[string]string{"examples/util/u.go": doc + "package util"},
			want:  []string{"package examples/util: the name does not say what is inside; put it beside its user"},
		},
		{
			name:  "a package without a doc comment",
			files: map[string]string{"layer/l.go": "package layer"},
			want:  []string{"package layer has no doc comment: say its duty and its promises"},
		},
		{
			name:  "a file that is two",
			files: map[string]string{"layer/l.go": doc + "package layer\n" + strings.Repeat("\n", 400)},
			want:  []string{"layer/l.go has 402 lines: more than 400 is two files"},
		},
		{
			name:  "a call that is another package's",
			files: map[string]string{"layer/l_linux.go": doc + "package layer\nvar fd, _ = unix.Openat2(0, \"a\", nil)"},
			want: []string{"layer/l_linux.go calls unix.Openat2(...): " +
				"paths inside a tree are looked up by internal/inroot, whose rules are tested"},
		},
		{
			name:  "the call where it belongs",
			files: map[string]string{"internal/inroot/o.go": doc + "package inroot\nvar fd, _ = unix.Openat2(0, \"a\", nil)"},
		},
		{
			name: "tests, testdata and nested modules are not read",
			files: map[string]string{
				"layer/l.go":               doc + "package layer",
				"layer/l_test.go":          "package layer\nimport \"github.com/ocibuild/ocibuild/builder\"",
				"layer/testdata/x/util.go": "package util",
				"tools/go.mod":             "module example.com/tools",
				"tools/util/u.go":          "package util",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for name, text := range test.files {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got, err := Check(tree)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestCheckNamesAFileItCannotRead(t *testing.T) {
	_, err := Check(fstest.MapFS{"layer/l.go": {Data: []byte("func layer")}})
	if err == nil || !strings.Contains(err.Error(), "layer/l.go") {
		t.Errorf("got %v, want an error that names layer/l.go", err)
	}
}
