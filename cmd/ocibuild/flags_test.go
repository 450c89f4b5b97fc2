package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestArgvIsDockers(t *testing.T) {
	both := ocispec.ImageConfig{Entrypoint: []string{"entry", "-e"}, Cmd: []string{"cmd"}}
	tests := []struct {
		name   string
		config ocispec.ImageConfig
		flags  runFlags
		args   []string
		want   []string // nil: an error
	}{
		{"entrypoint and cmd", both, runFlags{}, nil, []string{"entry", "-e", "cmd"}},
		{"arguments replace cmd", both, runFlags{}, []string{"a", "b"}, []string{"entry", "-e", "a", "b"}},
		{"only cmd", ocispec.ImageConfig{Cmd: []string{"cmd", "x"}}, runFlags{}, nil, []string{"cmd", "x"}},
		{"arguments are the command", ocispec.ImageConfig{Cmd: []string{"cmd"}}, runFlags{}, []string{"a"}, []string{"a"}},
		{"an entrypoint voids cmd", both, runFlags{entrypointSet: true, entrypoint: "mine"}, nil, []string{"mine"}},
		{"an entrypoint with arguments", both, runFlags{entrypointSet: true, entrypoint: "mine"}, []string{"a"}, []string{"mine", "a"}},
		{"an empty entrypoint", both, runFlags{entrypointSet: true}, []string{"a"}, []string{"a"}},
		{"nothing is left", both, runFlags{entrypointSet: true}, nil, nil},
		{"nothing at all", ocispec.ImageConfig{}, runFlags{}, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.flags.argv(test.config, test.args)
			if (err != nil) != (test.want == nil) {
				t.Fatalf("got error %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestEnvironmentLastWins(t *testing.T) {
	t.Setenv("OURS", "here")
	got := environment([]string{"A=1", "PATH=/bin", "broken"}, []string{"A=2", "OURS", "NOT_SET_ANYWHERE", "E="})
	want := []string{"PATH=/bin", "A=2", "OURS=here", "E="}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := environment(nil, nil); !cmp.Equal(got, []string{defaultPath}) {
		t.Errorf("got %q, want a PATH", got)
	}
}

func TestSecretSources(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("VARIABLE", "of the environment")
	if err := os.WriteFile("file", []byte("of the file"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ flag, want string }{
		{"id=x,src=file", "of the file"},
		{"id=x,source=file,type=file", "of the file"},
		{`"id=x","src=file"`, "of the file"},
		{"id=x,env=VARIABLE", "of the environment"},
		{"id=x,type=env,src=VARIABLE", "of the environment"},
		{"id=VARIABLE,type=env", "of the environment"},
		{"id=VARIABLE", "of the environment"},
		{"id=file", "of the file"},
	}
	for _, test := range tests {
		t.Run(test.flag, func(t *testing.T) {
			s, err := parseSecret(test.flag)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Value(); err != nil || string(got) != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	for _, flag := range []string{"", "src=file", "id=x,src=a,env=b", "id=x,type=ssh", "id=x,mode=1"} {
		if _, err := parseSecret(flag); err == nil || !strings.Contains(err.Error(), "--secret") {
			t.Errorf("%q: got %v, want an error that names --secret", flag, err)
		}
	}
}

func TestComplaintsCannotSteerTheTerminal(t *testing.T) {
	got := printable("a\x1b[31mb\x07c\u202ed\te\nf\u009bg")
	if want := "a[31mbcd\te\nfg"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLastLines(t *testing.T) {
	long := strings.Repeat("line\n", 2*tailLines) + "10%\r50%\r100%\r\nend\n\n"
	got := lastLines([]byte(long))
	if len(got) != tailLines {
		t.Errorf("got %d lines, want %d", len(got), tailLines)
	}
	if diff := cmp.Diff([]string{"line", "100%", "end"}, got[len(got)-3:]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
