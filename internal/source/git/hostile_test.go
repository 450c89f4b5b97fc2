package git

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/graph"
)

func TestSubmodules(t *testing.T) {
	deep := newOrigin(t, map[string]string{"g": "deep"})
	sub := newOrigin(t, map[string]string{"f": "sub"})
	sub.git("submodule", "add", "-q", deep.url(), "deep")
	sub.commit(nil)
	o := newOrigin(t, map[string]string{"f": "top"})
	o.git("submodule", "add", "-q", sub.url(), "lib")
	o.commit(nil)
	got := mustCheckout(t, newGit(t), &graph.Git{Remote: o.url()})
	if got["lib/f"] != "644 sub" || got["lib/deep/g"] != "644 deep" {
		t.Errorf("got %v", got)
	}
	for name := range got {
		if strings.HasSuffix(strings.TrimSuffix(name, "/"), ".git") {
			t.Errorf("%s is left", name)
		}
	}
	got = mustCheckout(t, newGit(t), &graph.Git{Remote: o.url(), SkipSubmodules: true})
	if got["lib/f"] != "" || got["f"] != "644 top" {
		t.Errorf("skipped: %v", got)
	}
}

// What could be an option, a command or another protocol never reaches git.
func TestRefusesWhatCouldBeAnOption(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "x"})
	canary := filepath.Join(t.TempDir(), "pwned")
	for _, ref := range []string{
		"--upload-pack=touch " + canary, "-c", "--upload-pack=x", "a b", "a..b", "a\nb", "@{-1}", "x:y", "*", "a/-b", "~", "refs/heads/../x", "^main",
	} {
		_, err := checkoutOf(t, newGit(t), &graph.Git{Remote: o.url(), Ref: ref})
		if err == nil || !strings.Contains(err.Error(), "no name of a branch") || strings.Contains(err.Error(), "\n") {
			t.Errorf("ref %q: error %v", ref, err)
		}
	}
	for _, remote := range []string{
		"git@-oProxyCommand=touch " + canary + ":x", "git@-oProxyCommand=x:y", "ssh://-oProxyCommand=x/y", "-oProxyCommand@h:x", "ext::sh -c touch% " + canary,
		"--upload-pack=x", "file:///etc/../x y", "/etc", "ftp://example.com/x", "https:///x.git", "git@h:-x",
	} {
		g := newGit(t)
		g.allowFile = strings.HasPrefix(remote, "file:")
		if _, err := checkoutOf(t, g, &graph.Git{Remote: remote}); err == nil || !strings.Contains(err.Error(), "no URL of a repository") {
			t.Errorf("remote %q: error %v", remote, err)
		}
	}
	if _, err := os.Lstat(canary); err == nil {
		t.Error("a command was run")
	}
}

func TestMistrustsTheRemotesHead(t *testing.T) {
	for head, ok := range map[string]bool{"refs/heads/main": true, "refs/heads/--upload-pack=x": false, "refs/heads/a b": false} {
		at := pickRef("", "ref: "+head+"\tHEAD\n"+strings.Repeat("a", 40)+"\tHEAD\n")
		if at == nil || (checkRef(at.ref) == nil) != ok {
			t.Errorf("%s: %+v", head, at)
		}
	}
}

// Nothing of this machine gets into a checkout: no file by a submodule's URL,
// no hook, no configuration of the user.
func TestHostileRepositories(t *testing.T) {
	host := newOrigin(t, map[string]string{"secret": "S3CR3T"})
	sub := newOrigin(t, map[string]string{"f": "sub"})
	sub.git("submodule", "add", "-q", host.url(), "stolen")
	sub.commit(nil)

	// The repository itself comes from a file here, so that the protocol is
	// allowed for it and not for its submodules needs a look at the environment.
	g := newGit(t)
	g.allowFile = false
	env, err := g.Repo(&graph.Git{Remote: "https://example.com/r.git"}).env(call{remote: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"GIT_ALLOW_PROTOCOL=https:http:ssh:git", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "HOME=/dev/null",
	} {
		if !strings.Contains(strings.Join(env, "\n")+"\n", want+"\n") {
			t.Errorf("the environment lacks %s", want)
		}
	}
	c := newGit(t).Repo(&graph.Git{Remote: sub.url()})
	defer c.Close()
	c.git.allowFile = true
	at, err := c.resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bare, err := c.fetch(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	c.git.allowFile = false
	if _, err := c.checkout(t.Context(), bare, at); err == nil || !strings.Contains(err.Error(), "transport 'file' not allowed") {
		t.Errorf("a submodule from a file: error %v", err)
	}
}

func TestRunsNothingOfTheUser(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "pwned")
	home := t.TempDir()
	write := func(name, data string, mode os.FileMode) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := "#!/bin/sh\ntouch " + canary + "\n"
	write("hooks/post-checkout", script, 0o755)
	write("hooks/reference-transaction", script, 0o755)
	write("template/hooks/post-checkout", script, 0o755)
	monitor := write("monitor", script, 0o755)
	config := write(".gitconfig", "[core]\nhooksPath = "+home+"/hooks\nfsmonitor = "+monitor+"\n[init]\ntemplateDir = "+home+"/template\n"+
		"[filter \"x\"]\nsmudge = "+monitor+"\n", 0o644)
	o := newOrigin(t, map[string]string{"f": "x", ".gitattributes": "f filter=x"})
	for k, v := range map[string]string{
		"HOME": home, "GIT_CONFIG_GLOBAL": config, "GIT_TEMPLATE_DIR": home + "/template", "GIT_SSH_COMMAND": monitor,
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": home + "/hooks", "GIT_DIR": "/nowhere",
	} {
		t.Setenv(k, v)
	}
	got, err := checkoutOf(t, newGit(t), &graph.Git{Remote: o.url(), KeepGitDir: true})
	if err != nil || got["f"] != "644 x" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := os.Lstat(canary); err == nil {
		t.Error("a program of the user's configuration was run")
	}
}

func TestErrorsAreClear(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "x"})
	for name, tc := range map[string]struct {
		op   graph.Git
		says string
	}{
		"no branch":     {graph.Git{Remote: o.url(), Ref: "nope"}, "it has no nope"},
		"no repository": {graph.Git{Remote: "file:///nowhere.git"}, "nowhere.git"},
		"no commit":     {graph.Git{Remote: o.url(), Ref: strings.Repeat("a", 40)}, strings.Repeat("a", 40)},
		"nobody":        {graph.Git{Remote: "http://u:S3CR3T@127.0.0.1:1/r.git"}, "http://xxxxx@127.0.0.1:1/r.git: "},
	} {
		_, err := checkoutOf(t, newGit(t), &tc.op)
		if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.says)
		}
	}
	g := newGit(t)
	g.program = "no-such-git"
	if _, err := checkoutOf(t, g, &graph.Git{Remote: o.url()}); err == nil || !strings.Contains(err.Error(), "the program git is needed") {
		t.Errorf("error %v", err)
	}
}

func TestStopsWithItsContext(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "x"})
	dir := t.TempDir()
	slow := filepath.Join(dir, "git")
	if err := os.WriteFile(slow, []byte("#!/bin/sh\nsleep 100 & sleep 100\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	g := newGit(t)
	g.program = slow
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := g.Repo(&graph.Git{Remote: o.url()}).Tree(ctx); err == nil || time.Since(began) > 25*time.Second {
		t.Errorf("error %v after %s", err, time.Since(began))
	}
}
