package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
)

// resolve finds out what the reference stands for, once. It needs c.mu.
func (c *Checkout) resolve(ctx context.Context) (*revision, error) {
	if c.at != nil {
		return c.at, nil
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	at, err := c.lookUpRef(ctx)
	if err != nil {
		return nil, err
	}
	if sum := strings.ToLower(c.op.Checksum); !strings.HasPrefix(at.object, sum) && (at.commit == "" || !strings.HasPrefix(at.commit, sum)) {
		return nil, fmt.Errorf("checksum mismatch: %s is the commit %s, expected is %s", c.refName(), at.peeled(), c.op.Checksum)
	}
	c.at = at
	return at, nil
}

func (c *Checkout) refName() string {
	if c.op.Ref == "" {
		return "the default branch"
	}
	return c.op.Ref
}

func (r *revision) peeled() string {
	if r.commit != "" {
		return r.commit
	}
	return r.object
}

func (c *Checkout) lookUpRef(ctx context.Context) (*revision, error) {
	if isCommit(c.op.Ref) {
		return &revision{object: c.op.Ref}, nil
	}
	if c.op.FetchByCommit {
		if sum := strings.ToLower(c.op.Checksum); isCommit(sum) {
			return &revision{ref: fullBranch(c.op.Ref), object: sum}, nil
		}
		return nil, errors.New("fetch-by-commit needs a full commit as checksum or ref")
	}
	remote, _ := graph.WithoutUser(c.op.Remote)
	if _, err := c.git.Store.SourcePath(cache.SourceGit, "any"); err != nil { // git runs in the directory above
		return nil, err
	}
	args := []string{"ls-remote", "--symref", "--", remote, "HEAD"}
	if c.op.Ref != "" {
		args = []string{"ls-remote", "--", remote, c.op.Ref, c.op.Ref + "^{}"}
	}
	out, err := c.ask(ctx, call{remote: true}, args...)
	if err != nil {
		return nil, err
	}
	at := pickRef(c.op.Ref, out)
	if at == nil || !isCommit(at.object) || at.commit != "" && !isCommit(at.commit) {
		return nil, fmt.Errorf("it has no %s", c.refName())
	}
	if at.ref != "" {
		if err := checkRef(at.ref); err != nil {
			return nil, err // the remote's own choice
		}
	}
	return at, nil
}

func fullBranch(ref string) string {
	if ref == "" || strings.HasPrefix(ref, "refs/") {
		return ref
	}
	return "refs/heads/" + ref
}

// pickRef finds a reference in what ls-remote printed: its full name first,
// then a branch of that name, then a tag. An empty one is the default branch.
func pickRef(ref, printed string) *revision {
	objects := map[string]string{}
	head := ""
	for line := range strings.Lines(printed) {
		object, name, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if to, ok := strings.CutPrefix(object, "ref: "); ok && name == "HEAD" {
			head = to
			continue
		}
		objects[name] = object
	}
	if ref == "" {
		if objects["HEAD"] == "" {
			return nil
		}
		return &revision{ref: head, object: objects["HEAD"]}
	}
	full := "refs/" + strings.TrimPrefix(ref, "refs/")
	branch, tag := "refs/heads/"+strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/"+strings.TrimPrefix(ref, "refs/tags/")
	for _, name := range []string{full, branch, tag} {
		if objects[name] != "" {
			return &revision{ref: name, object: objects[name], commit: objects[name+"^{}"]}
		}
	}
	return nil
}

// fetch brings the commit into the store's repository of the remote and
// returns its directory.
func (c *Checkout) fetch(ctx context.Context, at *revision) (string, error) {
	name := c.bare(at.object)
	bare, err := c.git.Store.SourcePath(cache.SourceGit, name)
	if err != nil {
		return "", err
	}
	unlock, err := c.git.Store.Lock(ctx, "git "+name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := c.create(ctx, bare, len(at.object) == 64); err != nil {
		return "", err
	}
	in := call{gitDir: bare, remote: true}
	if c.has(ctx, in, at) {
		return bare, nil
	}
	if err := sweepRepository(bare); err != nil {
		return "", err
	}
	remote, _ := graph.WithoutUser(c.op.Remote)
	for i, args := range c.attempts(at) {
		_, err = c.ask(ctx, in, append(append([]string{"fetch", "--quiet", "--force", "--no-tags"}, args.flags...),
			append([]string{"--", remote}, args.specs...)...)...)
		if err == nil && i > 0 {
			_, err = c.run(ctx, in, "update-ref", kept(at), at.object)
		}
		if err == nil && c.has(ctx, in, at) {
			return bare, nil
		}
		if err != nil && !askDifferently(err) {
			return "", err
		}
	}
	if err == nil {
		err = fmt.Errorf("%s is no commit of it", at.object)
	}
	return "", err
}

// sweepRepository removes what a git that was killed has left in a repository,
// whose lock the caller has: its own locks, which would stop every later one, and
// objects that are not whole.
func sweepRepository(bare string) error {
	return filepath.WalkDir(bare, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (strings.HasSuffix(path, ".lock") || strings.HasPrefix(d.Name(), "tmp_")) {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // git tidies up by itself, now and then
		}
		return err
	})
}

// kept is the reference that keeps a fetched object.
func kept(at *revision) string { return "refs/ocibuild/" + at.object }

func (c *Checkout) has(ctx context.Context, in call, at *revision) bool {
	_, err := c.run(ctx, in, "rev-parse", "--verify", "--quiet", "--end-of-options", kept(at)+"^{commit}")
	return err == nil
}

// attempt is one way to ask for a commit.
type attempt struct{ flags, specs []string }

// attempts are the ways to ask, cheapest first: for the object, which some
// servers do not allow; for the reference, which may have moved meanwhile; for
// everything, which all servers can.
func (c *Checkout) attempts(at *revision) []attempt {
	all := []attempt{{[]string{"--depth=1"}, []string{"+" + at.object + ":" + kept(at)}}}
	if at.ref != "" && !c.op.FetchByCommit {
		all = append(all, attempt{[]string{"--depth=1"}, []string{"+" + at.ref + ":refs/ocibuild/tip"}})
	}
	return append(all, attempt{nil, []string{"+refs/heads/*:refs/ocibuild/heads/*", "+refs/tags/*:refs/ocibuild/tags/*"}})
}

// askDifferently tells whether a server refused the way of asking.
func askDifferently(err error) bool {
	ge, ok := errors.AsType[*runError](err)
	if !ok {
		return false
	}
	for _, words := range []string{"not our ref", "unadvertised object", "shallow", "--depth", "remote ref", "nonexistent object", "not a valid"} {
		if strings.Contains(ge.said, words) {
			return true
		}
	}
	return false
}

// create makes the repository under another name, so that it is there whole.
func (c *Checkout) create(ctx context.Context, bare string, sha256 bool) error {
	if _, err := os.Lstat(filepath.Join(bare, "HEAD")); err == nil {
		return nil
	}
	tmp, err := c.git.Store.TempDir("git-bare-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := c.run(ctx, call{gitDir: tmp}, initArgs(sha256, "--bare")...); err != nil {
		return err
	}
	if err := os.RemoveAll(bare); err != nil {
		return err
	}
	return os.Rename(tmp, bare)
}

func initArgs(sha256 bool, flags ...string) []string {
	args := append([]string{"init", "--quiet", "--template="}, flags...)
	if sha256 {
		args = append(args, "--object-format=sha256")
	}
	return args
}
