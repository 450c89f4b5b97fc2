//go:build linux

package threats

import (
	"encoding/base64"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/builder"
)

// git is a repository that is served over HTTP, and what was asked of it.
type git struct {
	p    *place
	dir  string // the work tree; its parent is what is served
	url  string
	hook func(http.ResponseWriter, *http.Request) bool // true: it answered
	auth []string
}

// newGit serves a repository with one commit of a file f.
func newGit(p *place) *git {
	p.t.Helper()
	return newGitWith(p, nil)
}

func newGitWith(p *place, hook func(http.ResponseWriter, *http.Request) bool) *git {
	p.t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		p.t.Skipf("SKIPPED: needs git: %v", err)
	}
	g := &git{p: p, dir: filepath.Join(p.dir, "out", "repo"), hook: hook}
	must(p.t, os.MkdirAll(g.dir, 0o755))
	g.run("init", "-q", "-b", "main")
	g.run("config", "http.receivepack", "false")
	g.run("config", "uploadpack.allowAnySHA1InWant", "true")
	g.commit("f", "f")
	out, err := exec.Command("git", "--exec-path").Output()
	must(p.t, err)
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Stderr: quiet.Writer(),
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(g.dir), "GIT_HTTP_EXPORT_ALL=1", "HOME=/dev/null", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.auth = append(g.auth, r.Header.Get("Authorization"))
		if g.hook == nil || !g.hook(w, r) {
			r.URL.Path = strings.Replace(r.URL.Path, ".git/", "/.git/", 1)
			backend.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = quiet
	s.Start()
	p.t.Cleanup(s.Close)
	g.url = s.URL + "/repo.git"
	return g
}

func (g *git) run(args ...string) string {
	g.p.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
		"GIT_ALLOW_PROTOCOL=file:http")
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.p.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (g *git) commit(name, data string) string {
	g.p.t.Helper()
	path := filepath.Join(g.dir, name)
	must(g.p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(g.p.t, os.WriteFile(path, []byte(data), 0o644))
	return g.commitAll()
}

func (g *git) commitAll() string {
	g.p.t.Helper()
	g.run("add", "-A", "-f")
	g.run("commit", "-q", "-m", "x", "--allow-empty")
	return g.run("rev-parse", "HEAD")
}

func TestA06SubdirectoriesThatLeaveTheRepository(t *testing.T) {
	p := newPlace(t)
	g := newGit(p)
	must(t, os.Symlink("/", filepath.Join(g.dir, "proj")))
	must(t, os.Symlink("..", filepath.Join(g.dir, "up")))
	g.commit("a/b/Dockerfile", "FROM scratch\nCOPY . /\n")
	must(t, os.Symlink("a", filepath.Join(g.dir, "link")))
	must(t, os.Symlink(p.host.dir+"/secret", filepath.Join(g.dir, "a", "secret")))
	g.commitAll()
	for _, subdir := range []string{"proj" + p.host.dir, "proj", "up", "../../x", "a/../../x", "link/b", "link", "f", "/", "//", "a/./../../.."} {
		for door, change := range map[string]func(*builder.Options){"context": fromURL(g.url + "#main:" + subdir), "ADD": nil} {
			p.part(door+" "+subdir, func() {
				got, err := p.try("FROM scratch\nADD "+g.url+"#main:"+subdir+" /x/\n", change)
				if err != nil {
					p.refusal(err)
					return
				}
				p.nothingOfTheHost(got)
				if strings.Contains(subdir, "link") || strings.HasPrefix(subdir, "proj") || subdir == "up" {
					p.t.Error("a link was followed")
				}
			})
		}
	}
	must(t, errOf(p.try("", fromURL(g.url+"#main:a/b"))))
}

func TestA07ReferencesThatAreOptions(t *testing.T) {
	p := newPlace(t)
	g := newGit(p)
	pwn := "touch$IFS" + p.host.dir + "/pwned"
	for _, remote := range []string{g.url + "#--upload-pack=" + pwn, g.url + "#-c", g.url + "#main:--x", "git@-oProxyCommand=" + pwn + ":x.git", "ssh://-oProxyCommand=" + pwn + "/x.git",
		"ext::sh -c " + pwn, "git://-x/y.git", "https://-x/y.git", g.url + "#refs/heads/../../x", g.url + "#@{-1}", g.url + "#a b", "file://" + p.host.dir + "/x.git", "--upload-pack=" + pwn + ".git"} {
		p.part(remote, func() {
			_, err := p.try("FROM scratch\nADD " + remote + " /x/\n")
			p.refusal(err)
			_, err = p.try("", fromURL(remote))
			p.refusal(err)
		})
	}
	// The remote's own idea of what HEAD is.
	head := filepath.Join(g.dir, ".git", "HEAD")
	must(t, os.WriteFile(filepath.Join(g.dir, ".git", "packed-refs"), []byte(g.run("rev-parse", "HEAD")+" refs/heads/--upload-pack="+pwn+"\n"), 0o644))
	must(t, os.WriteFile(head, []byte("ref: refs/heads/--upload-pack="+pwn+"\n"), 0o644))
	if got, err := p.try("FROM scratch\nADD " + g.url + " /x/\n"); err != nil {
		p.refusal(err)
	} else {
		got.holds("x/f", "f")
	}
}

func TestA14RepositoriesThatRunThings(t *testing.T) {
	p := newPlace(t)
	g := newGit(p)
	must(t, os.Symlink(p.host.dir+"/secret", filepath.Join(g.dir, "secret")))
	g.commit(".gitattributes", "* filter=evil diff=evil merge=evil export-subst\n")
	home := filepath.Join(p.dir, "out", "home")
	hooks := filepath.Join(home, "hooks")
	must(t, os.MkdirAll(hooks, 0o755))
	script := "#!/bin/sh\ntouch " + p.host.dir + "/pwned\n"
	for _, name := range []string{"post-checkout", "pre-auto-gc", "fsmonitor", "reference-transaction", "post-index-change"} {
		must(t, os.WriteFile(filepath.Join(hooks, name), []byte(script), 0o755))
	}
	config := "[core]\n hooksPath = " + hooks + "\n fsmonitor = " + hooks + "/fsmonitor\n[filter \"evil\"]\n smudge = touch " + p.host.dir + "/pwned; cat\n[init]\n templateDir = " + home + "\n[url \"file://" + p.host.dir + "/\"]\n insteadOf = http://127.0.0.1/\n"
	must(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o644))
	t.Setenv("HOME", home)
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, ".gitconfig"))
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
	t.Setenv("GIT_CONFIG_VALUE_0", hooks)
	t.Setenv("GIT_DIR", p.host.dir)
	t.Setenv("GIT_TRACE", p.host.dir+"/victim-full")
	got := p.accepted("FROM scratch\nADD " + g.url + " /x/\n")
	got.holds("x/f", "f")
	p.nothingOfTheHost(got)
	os.Unsetenv("GIT_DIR")
	os.Unsetenv("GIT_TRACE")
	os.Unsetenv("GIT_CONFIG_COUNT")
	// Submodules: of the host, with commands, with names that leave.
	for name, modules := range map[string]string{
		"file":            "[submodule \"s\"]\n path = s\n url = file://" + p.host.dir + "\n",
		"path":            "[submodule \"s\"]\n path = s\n url = " + p.host.dir + "\n",
		"option":          "[submodule \"s\"]\n path = s\n url = --upload-pack=touch$IFS" + p.host.dir + "/pwned\n",
		"command":         "[submodule \"s\"]\n path = s\n url = " + g.url + "\n update = !touch " + p.host.dir + "/pwned\n",
		"ext":             "[submodule \"s\"]\n path = s\n url = ext::sh -c touch% " + p.host.dir + "/pwned\n",
		"climbs":          "[submodule \"../../x\"]\n path = s\n url = " + g.url + "\n",
		"a path of git's": "[submodule \"s\"]\n path = .git/hooks\n url = " + g.url + "\n",
		"a return":        "[submodule \"s\"]\n path = \"s\\r\"\n url = " + g.url + "\n",
	} {
		must(t, os.WriteFile(filepath.Join(g.dir, ".gitmodules"), []byte(modules), 0o644))
		g.run("add", ".gitmodules")
		g.run("update-index", "--add", "--cacheinfo", "160000,"+g.run("rev-parse", "HEAD~1")+",s")
		g.run("commit", "-q", "-m", "x")
		p.part(name, func() {
			got, err := p.try("FROM scratch\nADD " + g.url + "#" + g.run("rev-parse", "HEAD") + " /x/\n")
			if err != nil {
				p.refusal(err)
				return
			}
			p.nothingOfTheHost(got)
		})
	}
}

func TestX30GitOverHTTP(t *testing.T) {
	p, s := newPlace(t), newSink(t)
	g := newGit(p)
	token := func(o *builder.Options) {
		o.Secrets = []builder.Secret{{ID: "GIT_AUTH_TOKEN", Value: func() ([]byte, error) { return []byte(password), nil }}}
	}
	sent := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + password))
	p.accepted("FROM scratch\nADD "+g.url+" /x/\n", token).holds("x/f", "f")
	if len(g.auth) == 0 || g.auth[0] != "Basic "+sent {
		t.Errorf("the token was not sent where it belongs: %q", g.auth)
	}
	p.nowhere(p.store, password, sent)
	// Sent away, git goes without it, if at all.
	g.hook = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, s.url+r.URL.RequestURI(), http.StatusFound)
		return true
	}
	p.emptyStore()
	_, err := p.try("FROM scratch\nADD "+g.url+" /x/\n", token)
	p.refusal(err, g.url)
	p.secretFree(err.Error())
	_, err = p.try("FROM scratch\nADD " + g.url + " /x/\n")
	p.refusal(err, g.url)
	s.learnt(password, sent)
	g.hook = nil
	// What .git holds: links and alternates that lead to the host.
	must(t, os.WriteFile(filepath.Join(g.dir, ".git", "objects", "info", "alternates"), []byte(p.host.dir+"\n"), 0o644))
	got := p.accepted("FROM scratch\nADD --keep-git-dir=true " + g.url + " /x/\n")
	got.holds("x/f", "f")
	if e, err := got.view.Lookup(t.Context(), "x/.git/objects/info/alternates"); err == nil {
		t.Errorf("the copy borrows objects: %+v", e)
	}
	got.entry("x/.git/HEAD")
}
