package graph

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

func decode(t *testing.T, st llb.State) (*Graph, error) {
	t.Helper()
	def, err := st.Marshal(context.Background(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	return Decode(def.ToPB())
}

func mustDecode(t *testing.T, st llb.State) *Graph {
	t.Helper()
	g, err := decode(t, st)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestDecodeOrdersInputsBeforeTheirUsers(t *testing.T) {
	base := llb.Image("docker.io/library/base:1")
	a := base.Run(llb.Shlex("a")).Root()
	b := base.Run(llb.Shlex("b")).Root()
	g := mustDecode(t, a.File(llb.Copy(b, "/x", "/y")))
	seen := map[*Step]bool{}
	for _, s := range g.Steps {
		for _, in := range s.Inputs {
			if !seen[in.Step] {
				t.Errorf("%s comes before its input", s.Op.Kind())
			}
		}
		seen[s] = true
	}
	if len(g.Steps) != 4 || g.Result.Step != g.Steps[3] {
		t.Errorf("graph\n%s", g)
	}
	if got := g.String(); !strings.Contains(got, "3 file <") {
		t.Errorf("drawing\n%s", got)
	}
}

func TestDecodeExec(t *testing.T) {
	g := mustDecode(t, llb.Image("docker.io/library/base:1").Run(
		llb.Args([]string{"make", "-j"}), llb.Dir("/w"), llb.User("app"), llb.AddEnv("A", "1"), llb.Network(llb.NetModeNone),
		llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("id", llb.CacheMountLocked)),
		llb.AddMount("/t", llb.Scratch(), llb.Tmpfs(llb.TmpfsSize(9))),
		llb.AddSecret("/s", llb.SecretID("k"), llb.SecretOptional),
		llb.WithProxy(llb.ProxyEnv{HTTPProxy: "p"}),
	).Root())
	want := &Exec{
		Args: []string{"make", "-j"}, Cwd: "/w", User: "app", Network: NetworkNone,
		Env:   []string{"A=1"},
		Proxy: []string{"HTTP_PROXY=p", "http_proxy=p"},
		Mounts: []Mount{
			{Type: MountBind, Target: "/", Input: 0, Output: 0},
			{Type: MountCache, Target: "/c", Input: -1, Output: -1, CacheID: "id", Sharing: "locked"},
			{Type: MountTmpfs, Target: "/t", Input: -1, Output: -1, Size: 9},
			{Type: MountSecret, Target: "/s", Input: -1, Output: -1, ID: "k", Mode: 0o400, Optional: true},
		},
	}
	got := g.Result.Step.Op.(*Exec)
	got.Env = got.Env[:1] // a default PATH follows
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeFileActions(t *testing.T) {
	src := llb.Local("context", llb.ExcludePatterns([]string{"x"}), llb.FollowPaths([]string{"y"}))
	g := mustDecode(t, llb.Image("docker.io/library/base:1").File(
		llb.Mkdir("/d", 0o700, llb.WithParents(true)).
			Mkfile("/d/f", 0o600, []byte("data"), llb.WithUser("app")).
			Copy(src, "/a", "/b", &llb.CopyInfo{AllowWildcard: true, FollowSymlinks: true}).
			Rm("/z", llb.WithAllowNotFound(true))))
	f := g.Result.Step.Op.(*File)
	if len(f.Actions) != 4 {
		t.Fatalf("%d actions", len(f.Actions))
	}
	c, ok := f.Actions[2].Do.(*Copy)
	if !ok || c.Src != "/a" || !c.Wildcard || !c.FollowSymlink || c.Mode != -1 || c.Timestamp != -1 {
		t.Errorf("copy %+v", c)
	}
	m := f.Actions[1].Do.(*Mkfile)
	if m.Owner == nil || m.Owner.User.Name != "app" || string(m.Data) != "data" {
		t.Errorf("mkfile %+v", m)
	}
	// Each action builds on the one before; only the last is an output.
	for i, a := range f.Actions {
		if out := a.Output >= 0; out != (i == 3) {
			t.Errorf("action %d: output %d", i, a.Output)
		}
		if i > 0 && a.Input != len(g.Result.Step.Inputs)+i-1 {
			t.Errorf("action %d builds on %d", i, a.Input)
		}
	}
	for _, s := range g.Steps {
		if l, ok := s.Op.(*Local); ok && cmp.Diff(&Local{Name: "context", Exclude: []string{"x"}, FollowPaths: []string{"y"}}, l) != "" {
			t.Errorf("local %+v", l)
		}
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, st := range map[string]llb.State{
		"git bundle":        llb.Git("https://example.com/r.git", "main", llb.GitCheckoutBundle()),
		"unknown attribute": llb.Local("context", llb.MetadataOnlyTransfer(nil)),
	} {
		if _, err := decode(t, st); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestDecodeSurvivesDamage(t *testing.T) {
	def, err := llb.Image("docker.io/library/base:1").Run(llb.Shlex("a")).Root().Marshal(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(*pb.Definition){
		"input missing": func(d *pb.Definition) { d.Def = d.Def[1:] },
		"no root":       func(d *pb.Definition) { d.Def = d.Def[:1] },
		"garbage":       func(d *pb.Definition) { d.Def[0] = []byte{0xff} },
		"negative input": func(d *pb.Definition) {
			d.Def = [][]byte{op(t, &pb.Op{Inputs: []*pb.Input{{Digest: "sha256:x", Index: -1}}})}
		},
	} {
		p := def.ToPB()
		p.Def = append([][]byte{}, p.Def...)
		damage(p)
		if _, err := Decode(p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if g, err := Decode(&pb.Definition{}); err != nil || g.Result.Step != nil {
		t.Errorf("an empty definition: %v, %v", g, err)
	}
}

func op(t *testing.T, o *pb.Op) []byte {
	t.Helper()
	data, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSpan(t *testing.T) {
	s := Span{File: "Dockerfile", Data: []byte("FROM a\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f"), Lines: []Range{{4, 4}}}
	want := "   2 |     RUN b\n   3 |     RUN c\n   4 | >>> RUN d\n   5 |     RUN e\n   6 |     RUN f\n"
	if got := s.Excerpt(); got != want {
		t.Errorf("excerpt\n%s", got)
	}
	err := error(&LineError{Span: s, Err: context.Canceled})
	if err.Error() != "Dockerfile:4: context canceled" || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestExcerptFitsAScreen(t *testing.T) {
	s := Span{Data: []byte(strings.Repeat("é", 1_000_000) + strings.Repeat("\nx", 100_000)), Lines: []Range{{First: 1, Last: 100_000}}}
	got := s.Excerpt()
	if len(got) > 5000 || !strings.Contains(got, "é…\n") || !strings.Contains(got, "99968 lines\n99999 | >>> x") || !strings.HasSuffix(got, "100001 |     x\n") {
		t.Errorf("%d bytes: …%s", len(got), got[max(0, len(got)-500):])
	}
}

func FuzzDecode(f *testing.F) {
	def, err := llb.Image("docker.io/library/base:1").Run(llb.Shlex("a")).Root().Marshal(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	data, err := def.ToPB().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &pb.Definition{}
		if d.Unmarshal(data) == nil {
			_, _ = Decode(d) // must not panic
		}
	})
}
