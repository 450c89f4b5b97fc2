package git

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/wait"
	"github.com/ocibuild/ocibuild/layer"
)

// origin is a repository with a work tree, which remotes are made of.
type origin struct {
	t   *testing.T
	dir string
}

func newOrigin(t *testing.T, files map[string]string) *origin {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git here")
	}
	o := &origin{t: t, dir: filepath.Join(t.TempDir(), "origin.git")}
	if err := os.Mkdir(o.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o.git("init", "-q", "-b", "main")
	o.commit(files)
	return o
}

func (o *origin) git(args ...string) string {
	o.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_AUTHOR_DATE=1600000000 +0000", "GIT_COMMITTER_DATE=1600000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit adds files; "@x" as content is a link to x, and a name that ends in
// "*" is executable.
func (o *origin) commit(files map[string]string) string {
	o.t.Helper()
	for name, data := range files {
		name, executable := strings.CutSuffix(name, "*")
		path := filepath.Join(o.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			o.t.Fatal(err)
		}
		mode := fs.FileMode(0o640)
		if executable {
			mode = 0o700
		}
		var err error
		if to, ok := strings.CutPrefix(data, "@"); ok {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(data), mode)
		}
		if err != nil {
			o.t.Fatal(err)
		}
	}
	o.git("add", "-A")
	o.git("commit", "-q", "-m", "change", "--allow-empty")
	return o.git("rev-parse", "HEAD")
}

func (o *origin) url() string { return "file://" + o.dir }

func newGit(t *testing.T) *Client {
	t.Helper()
	return gitIn(t, t.TempDir())
}

// gitIn is a Git over the store in dir, as a new process would have it.
func gitIn(t *testing.T, dir string) *Client {
	t.Helper()
	store, err := cache.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{Store: store, Now: time.Unix(1700000000, 0), allowFile: true, Retry: wait.Policy{Retries: 2, Delay: time.Millisecond}}
}

// listing is the tree of a checkout: "mode content", "-> target" or "mode".
func checkoutOf(t *testing.T, g *Client, op *graph.Git) (map[string]string, error) {
	t.Helper()
	ctx := context.Background()
	c := g.Repo(op)
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(filepath.Join(g.Store.Path(), "tmp"))
		if err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
	}()
	tree, err := c.Tree(ctx)
	if err != nil {
		return nil, err
	}
	return listTree(t, tree), nil
}

func listTree(t *testing.T, tree layer.Tree) map[string]string {
	t.Helper()
	ctx := context.Background()
	out := map[string]string{}
	var walk func(string)
	walk = func(dir string) {
		entries, err := tree.ReadDir(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			switch e.Type {
			case layer.Directory:
				out[e.Name+"/"] = modeOf(e)
				walk(e.Name)
			case layer.Symlink:
				out[e.Name] = "-> " + e.Linkname
			default:
				out[e.Name] = modeOf(e) + " " + readEntry(t, tree, e)
			}
		}
	}
	walk(".")
	return out
}

func modeOf(e layer.Entry) string {
	s := []byte("000")
	for i := range s {
		s[i] += byte(e.Mode >> (6 - 3*i) & 7)
	}
	return string(s)
}

func readEntry(t *testing.T, tree layer.Tree, e layer.Entry) string {
	t.Helper()
	r, err := tree.Open(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := r.Read(buf)
		b.Write(buf[:n])
		if err != nil || int64(b.Len()) >= e.Size {
			return b.String()
		}
	}
}

func mustCheckout(t *testing.T, g *Client, op *graph.Git) map[string]string {
	t.Helper()
	got, err := checkoutOf(t, g, op)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func pinOf(t *testing.T, g *Client, op *graph.Git) string {
	t.Helper()
	p, err := g.Repo(op).Pin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestChecksOutWhatAReferenceMeans(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "one", "run*": "x", "d/l": "@../f"})
	first := o.git("rev-parse", "HEAD")
	o.git("tag", "-a", "-m", "t", "v1")
	o.git("branch", "feature/x")
	second := o.commit(map[string]string{"f": "two"})
	o.git("tag", "light")
	o.git("branch", "both", first)
	o.git("tag", "both", second)
	g := newGit(t)
	for ref, want := range map[string]string{
		"": "two", "main": "two", "refs/heads/main": "two", "feature/x": "one", "v1": "one", "refs/tags/v1": "one", "light": "two",
		first: "one", second: "two", "both": "one", "refs/tags/both": "two",
	} {
		got := mustCheckout(t, g, &graph.Git{Remote: o.url(), Ref: ref})
		if got["f"] != "644 "+want || got["run"] != "755 x" || got["d/"] != "755" || got["d/l"] != "-> ../f" || len(got) != 4 {
			t.Errorf("%q: %v, want %s", ref, got, want)
		}
	}
	// Names of one commit are one pin, in a repository of its own or not.
	if a, b := pinOf(t, g, &graph.Git{Remote: o.url(), Ref: "v1"}), pinOf(t, g, &graph.Git{Remote: o.url(), Ref: first}); a != b {
		t.Errorf("pins %s and %s of one commit", a, b)
	}
}

func TestPinSaysWhatIsWanted(t *testing.T) {
	o := newOrigin(t, map[string]string{"d/f": "x"})
	g := newGit(t)
	seen := map[string]string{}
	for name, op := range map[string]graph.Git{
		"plain": {}, "subdir": {Subdir: "d"}, "keep": {KeepGitDir: true}, "submodules": {SkipSubmodules: true}, "time": {CommitTime: true},
	} {
		op.Remote = o.url()
		p := pinOf(t, g, &op)
		if seen[p] != "" {
			t.Errorf("%s and %s have one pin", name, seen[p])
		}
		seen[p] = name
	}
	before := pinOf(t, g, &graph.Git{Remote: o.url()})
	o.commit(map[string]string{"d/f": "y"})
	if pinOf(t, g, &graph.Git{Remote: o.url()}) == before {
		t.Error("a new commit has the pin of the old one")
	}
}

// A commit that the store has is not asked for again, wherever the remote went.
func TestKeepsCommits(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "one"})
	commit := o.git("rev-parse", "HEAD")
	dir := t.TempDir()
	mustCheckout(t, gitIn(t, dir), &graph.Git{Remote: o.url(), Ref: "main"})
	if err := os.RemoveAll(o.dir); err != nil {
		t.Fatal(err)
	}
	if got := mustCheckout(t, gitIn(t, dir), &graph.Git{Remote: o.url(), Ref: commit}); got["f"] != "644 one" {
		t.Errorf("got %v", got)
	}
}

func TestTimes(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "one"})
	for commitTime, want := range map[bool]int64{false: 1700000000, true: 1600000000} {
		c := newGit(t).Repo(&graph.Git{Remote: o.url(), CommitTime: commitTime})
		tree, err := c.Tree(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if e, err := tree.Lookup(context.Background(), "f"); err != nil || e.ModTime != want {
			t.Errorf("time %d, %v, want %d", e.ModTime, err, want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSubdir(t *testing.T) {
	o := newOrigin(t, map[string]string{"a/b/f": "x", "file": "y", "link": "@a", "root": "@/", "a/up": "@../.."})
	g := newGit(t)
	if got := mustCheckout(t, g, &graph.Git{Remote: o.url(), Subdir: "a/b"}); len(got) != 1 || got["f"] != "644 x" {
		t.Errorf("got %v", got)
	}
	for subdir, says := range map[string]string{
		"link": "not a directory", "link/b": "not a directory", "root/etc": "not a directory", "a/up": "not a directory",
		"file": "not a directory", "none": "no directory", "../x": "out of the repository",
	} {
		if _, err := checkoutOf(t, g, &graph.Git{Remote: o.url(), Subdir: subdir}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one with %q", subdir, err, says)
		}
	}
}

func TestKeepsGitDirWhenAsked(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "x"})
	o.git("tag", "-a", "-m", "t", "v1")
	commit := o.git("rev-parse", "HEAD")
	for _, ref := range []string{"", "main", "v1", commit} {
		c := newGit(t).Repo(&graph.Git{Remote: o.url(), Ref: ref, KeepGitDir: true})
		if _, err := c.Tree(context.Background()); err != nil {
			t.Fatalf("%q: %v", ref, err)
		}
		// It stands alone: nothing of the store's repository is needed.
		if err := os.RemoveAll(filepath.Join(c.git.Store.Path(), "git")); err != nil {
			t.Fatal(err)
		}
		copied := &origin{t: t, dir: filepath.Join(c.dir, "work")}
		if got := copied.git("rev-parse", "HEAD"); got != commit {
			t.Errorf("%q: HEAD is %s, want %s", ref, got, commit)
		}
		if got := copied.git("status", "--porcelain"); got != "" {
			t.Errorf("%q: status %s", ref, got)
		}
		if got := copied.git("remote", "get-url", "origin"); got != o.url() {
			t.Errorf("%q: origin %s", ref, got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	got := mustCheckout(t, newGit(t), &graph.Git{Remote: o.url()})
	if len(got) != 1 {
		t.Errorf("without being asked: %v", got)
	}
}

func TestChecksum(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "x"})
	commit := o.git("rev-parse", "HEAD")
	o.git("tag", "-a", "-m", "t", "v1")
	o.commit(map[string]string{"f": "y"})
	g := newGit(t)
	for name, op := range map[string]graph.Git{
		"tag": {Ref: "v1", Checksum: commit[:10]}, "commit": {Ref: commit, Checksum: commit}, "capitals": {Ref: "v1", Checksum: strings.ToUpper(commit)},
		"fetched by commit": {Ref: "main", Checksum: commit, FetchByCommit: true}, "no ref": {Checksum: commit, FetchByCommit: true},
	} {
		op.Remote = o.url()
		if got := mustCheckout(t, g, &op); got["f"] != "644 x" {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, tc := range map[string]struct {
		op   graph.Git
		says string
	}{
		"moved":     {graph.Git{Ref: "main", Checksum: commit[:10]}, "checksum mismatch"},
		"other":     {graph.Git{Ref: commit, Checksum: "abcdef"}, "checksum mismatch"},
		"no hex":    {graph.Git{Checksum: "xyz"}, "in hex"},
		"too short": {graph.Git{Checksum: commit[:10], FetchByCommit: true}, "full commit"},
	} {
		tc.op.Remote = o.url()
		if _, err := checkoutOf(t, g, &tc.op); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.says)
		}
	}
}
