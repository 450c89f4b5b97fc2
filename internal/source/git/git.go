package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/util/gitutil"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/wait"
	"github.com/ocibuild/ocibuild/layer"
)

// Client fetches commits of repositories with the git program. It keeps a bare
// repository for each remote in the store, so that a commit is fetched once.
//
// A repository is hostile until shown otherwise: git sees no configuration,
// hook or credential of this machine, speaks to remotes over https, http, ssh
// and git only, and gets names that cannot be options. What it checks out is
// read without following a link.
// Its fields must not change once it is in use; it is safe for concurrent use.
type Client struct {
	Store *cache.Dir
	// Secret finds the secrets that hold tokens or headers; nil has none.
	Secret func(id string) (value []byte, ok bool, err error)
	// SSHAgent returns the socket of an agent by its name; nil has none.
	SSHAgent func(id string) (socket string, err error)
	// Now is the time of files whose operation does not want the commit's.
	Now time.Time
	// Retry says how often a remote that cannot be reached is asked.
	Retry wait.Policy

	program   string // tests have no git
	allowFile bool   // tests have remotes in the file system
}

// Checkout is the files of one commit, fetched when somebody asks, and once.
// Close removes them.
type Checkout struct {
	git *Client
	op  *graph.Git

	mu   sync.Mutex
	at   *revision
	dir  string // private directory; empty until it is needed
	tree *tree
}

// revision is what a reference stands for.
type revision struct {
	ref    string // full name; empty for a bare commit
	object string // a commit, or the tag that ref is
	commit string // what a tag leads to; empty if object is a commit, or nobody knows
}

// Repo returns the files that op describes. Nothing is fetched yet.
func (g *Client) Repo(op *graph.Git) *Checkout { return &Checkout{git: g, op: op} }

// Close removes the files.
func (c *Checkout) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	if c.tree != nil {
		errs = append(errs, c.tree.Close())
	}
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	c.tree, c.dir = nil, ""
	return errors.Join(errs...)
}

// Pin names what Tree yields by the commit and what of it is wanted. It asks
// the remote what a branch or a tag is, and nobody about a commit.
func (c *Checkout) Pin(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.resolve(ctx)
	if err != nil {
		return "", c.failed(err)
	}
	what := []any{at.object, c.op.Subdir, c.op.SkipSubmodules, c.op.CommitTime}
	switch {
	case c.keepsGit():
		what = append(what, "keep", at.ref)
	case at.commit != "":
		what[0] = at.commit
	}
	data, err := json.Marshal(what)
	return string(data), err
}

// Tree fetches the commit, unless the store has it, and checks it out.
func (c *Checkout) Tree(ctx context.Context) (layer.Tree, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tree != nil {
		return c.tree, nil
	}
	t, err := c.open(ctx)
	if err != nil {
		return nil, c.failed(err)
	}
	c.tree = t
	return t, nil
}

// Ready tells whether Tree has fetched the files.
func (c *Checkout) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tree != nil
}

func (c *Checkout) open(ctx context.Context) (*tree, error) {
	at, err := c.resolve(ctx)
	if err != nil {
		return nil, err
	}
	bare, err := c.fetch(ctx, at)
	if err != nil {
		return nil, err
	}
	return c.checkout(ctx, bare, at)
}

// failed says which repository an error is about, without credentials.
func (c *Checkout) failed(err error) error {
	return fmt.Errorf("git repository %s: %w", graph.Redact(c.op.Remote), err)
}

// keepsGit tells whether .git stays; a subdirectory has none.
func (c *Checkout) keepsGit() bool { return c.op.KeepGitDir && c.op.Subdir == "" }

// private returns the directory for all that belongs to this checkout.
func (c *Checkout) private() (string, error) {
	if c.dir == "" {
		dir, err := c.git.Store.TempDir("git-*")
		if err != nil {
			return "", err
		}
		c.dir = dir
	}
	return c.dir, nil
}

// bare returns the name of the remote's repository in the store. Repositories
// of one remote with other hashes are others.
func (c *Checkout) bare(object string) string {
	remote, _ := graph.WithoutUser(c.op.Remote)
	sum := sha256.Sum256([]byte(remote))
	name := hex.EncodeToString(sum[:16])
	if len(object) == 64 {
		name += "-sha256"
	}
	return name
}

var (
	hexDigits = regexp.MustCompile(`^[0-9a-f]+$`)
	// refChars leaves out what git itself refuses, globs, and a leading dash.
	refChars = regexp.MustCompile(`^[0-9A-Za-z_.@+/#%=,!$&'(){}|;<>"-]+$`)
)

func isCommit(s string) bool { return (len(s) == 40 || len(s) == 64) && hexDigits.MatchString(s) }

// checkRef refuses names that git could take for something else.
func checkRef(ref string) error {
	bad := strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "/") || strings.Contains(ref, "/-") ||
		strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.Contains(ref, "//") || len(ref) > 1024
	if bad || !refChars.MatchString(ref) {
		return fmt.Errorf("%q is no name of a branch, a tag or a commit", ref)
	}
	return nil
}

// checkRemote refuses URLs that git or ssh could take for something else.
func (g *Client) checkRemote(remote string) error {
	if strings.ContainsFunc(remote, func(r rune) bool { return r <= ' ' || r == 0x7f }) || strings.HasPrefix(remote, "-") {
		return errors.New("it is no URL of a repository")
	}
	if g.allowFile && strings.HasPrefix(remote, "file:///") {
		return nil
	}
	u, err := gitutil.ParseURL(remote)
	if err != nil || u.Host == "" || strings.HasPrefix(u.Host, "-") || strings.HasPrefix(u.Path, "-") ||
		u.User != nil && strings.HasPrefix(u.User.Username(), "-") {
		return errors.New("it is no URL of a repository")
	}
	return nil
}

// check looks at the operation before git sees any of it.
func (c *Checkout) check() error {
	if err := c.git.checkRemote(c.op.Remote); err != nil {
		return err
	}
	if c.op.Ref != "" {
		if err := checkRef(c.op.Ref); err != nil {
			return err
		}
	}
	if sum := c.op.Checksum; sum != "" && !hexDigits.MatchString(strings.ToLower(sum)) {
		return fmt.Errorf("checksum %q is not the beginning of a commit in hex", sum)
	}
	if s := filepath.FromSlash(c.op.Subdir); s != "" && !filepath.IsLocal(s) {
		return fmt.Errorf("subdirectory %q leads out of the repository", c.op.Subdir)
	}
	return nil
}
