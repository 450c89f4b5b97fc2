package builder

import (
	"bytes"
	"errors"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gitOrigin serves a repository of the files and returns its URL, and a
// function that commits changes.
func gitOrigin(t *testing.T, files map[string]string) (url string, commit func(map[string]string)) {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("no git here")
	}
	dir := t.TempDir()
	env := []string{
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.c",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.c", "GIT_COMMITTER_DATE=1600000000 +0000",
	}
	git := func(args ...string) {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	commit = func(files map[string]string) {
		for name, data := range files {
			path := filepath.Join(dir, name)
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if to, ok := strings.CutPrefix(data, "@"); ok && err == nil {
				err = os.Symlink(to, path)
			} else if err == nil {
				err = os.WriteFile(path, []byte(data), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		git("add", "-A")
		git("commit", "-q", "-m", "change")
	}
	commit(files)
	s := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  append(env, "GIT_PROJECT_ROOT="+dir, "GIT_HTTP_EXPORT_ALL=1"),
	})
	t.Cleanup(s.Close)
	return s.URL + "/.git", commit
}

// stored wants no temporary file in the store.
func (p *project) nothingLeft() {
	p.t.Helper()
	left, err := os.ReadDir(filepath.Join(p.store, "tmp"))
	if err != nil || len(left) > 0 {
		p.t.Errorf("left over: %v, %v", left, err)
	}
}

func TestContextFromGit(t *testing.T) {
	url, commit := gitOrigin(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY src /app\n", "src/f": "one", "README": "r",
		"sub/other.Dockerfile": "FROM scratch\nCOPY . /\n", "sub/x": "y", "sub/.dockerignore": "x",
	})
	p := newProject(t, nil)
	img := p.build(func(o *Options) { o.Context = url })
	if got := files(t, img); len(got) != 1 || got["app/f"] != "one" {
		t.Errorf("files %v", got)
	}
	p.nothingLeft()
	if p.build(func(o *Options) { o.Context = url }); len(p.did()) > 1 { // the fetch
		t.Errorf("the same again did %v", p.did())
	}
	// A commit that changes nothing of what is copied is no other build.
	commit(map[string]string{"README": "changed"})
	if again := p.build(func(o *Options) { o.Context = url }); again.Descriptor.Digest != img.Descriptor.Digest {
		t.Errorf("another image; it did %v", p.did())
	}
	commit(map[string]string{"src/f": "two"})
	if got := files(t, p.build(func(o *Options) { o.Context = url + "#main" })); got["app/f"] != "two" {
		t.Errorf("files %v", got)
	}
	for _, u := range []string{url + "#main:sub", url + "?branch=main&subdir=sub"} {
		got := files(t, p.build(func(o *Options) { o.Context, o.Dockerfile = u, "other.Dockerfile" }))
		if got["x"] != "y" || len(got) != 3 { // ignore files are for local contexts
			t.Errorf("%s: files %v", u, got)
		}
	}
	got := files(t, p.build(func(o *Options) { o.Context, o.DockerfileData = url, []byte("FROM scratch\nCOPY README /\n") }))
	if got["README"] != "changed" {
		t.Errorf("with a Dockerfile from here: %v", got)
	}
}

func TestContextFromGitFails(t *testing.T) {
	url, _ := gitOrigin(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY gone /\n", "link/Dockerfile": "@/etc/passwd", "d": "@/", "up/Dockerfile": "@../../../../../../../../etc/passwd",
	})
	p := newProject(t, nil)
	for u, says := range map[string]string{
		url:                                  "Dockerfile:2: ",
		url + "#main:d/etc":                  "not a directory",
		url + "#main:link":                   "Dockerfile",
		url + "#main:up":                     "Dockerfile",
		url + "#nope":                        "it has no nope",
		url + "#--upload-pack=x":             "no name of a branch",
		url + "?zap=1":                       "unexpected query",
		"http://u:S3CR3T@127.0.0.1:1/r.git":  "http://xxxxx@127.0.0.1:1/r.git",
		"git@-oProxyCommand=touch${IFS}pw:x": "", // what BuildKit's parser makes of it
	} {
		_, err := p.try(func(o *Options) { o.Context, o.Registries = u, &Registries{Retries: -1} })
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "S3CR3T") || strings.Contains(err.Error(), "root:x") {
			t.Errorf("%s: error %v, want one with %q", u, err, says)
		}
		p.nothingLeft()
	}
}

func TestContextFromTheWeb(t *testing.T) {
	context := map[string]string{"Dockerfile": "FROM scratch\nCOPY d /\nCOPY --chown=5 d/f /g\n", "d/f": "x"}
	w := newWebSite(t, map[string]string{"/c.tgz": tarOf(t, context), "/Dockerfile": "FROM scratch\nCOPY <<E /a\ntext\nE\n"})
	p := newProject(t, nil)
	img := p.build(func(o *Options) { o.Context = w.URL + "/c.tgz" })
	if got := files(t, img); got["f"] != "x" || got["g"] != "x" || entry(t, img, "f").UID != 7 {
		t.Errorf("files %v", got)
	}
	if p.build(func(o *Options) { o.Context = w.URL + "/c.tgz" }); len(p.did()) > 1 || w.bodies.Load() != 1 {
		t.Errorf("the same again did %v", p.did())
	}
	if got := files(t, p.build(func(o *Options) { o.Context = w.URL + "/Dockerfile" })); got["a"] != "text\n" {
		t.Errorf("a Dockerfile alone: %v", got)
	}
	p.nothingLeft()
	_, err := p.try(func(o *Options) { o.Context, o.Dockerfile = w.URL+"/c.tgz", "none" })
	if err == nil || !strings.Contains(err.Error(), "none") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}

func TestContextFromData(t *testing.T) {
	p := newProject(t, nil)
	build := func(data string, change func(*Options)) (*Image, error) {
		return p.try(func(o *Options) {
			o.Context, o.ContextData = "", strings.NewReader(data)
			if change != nil {
				change(o)
			}
		})
	}
	context := tarOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", "d/f": "x", "b.Dockerfile": "FROM scratch\nCOPY d /\n"})
	img, err := build(context, nil)
	if err != nil || files(t, img)["d/f"] != "x" {
		t.Fatalf("files %v", err)
	}
	img, err = build(context, func(o *Options) { o.Dockerfile = "b.Dockerfile" })
	if err != nil || files(t, img)["f"] != "x" {
		t.Errorf("with -f: %v", err)
	}
	if img, err = build("FROM scratch\nCOPY <<E /a\ntext\nE\n", nil); err != nil || files(t, img)["a"] != "text\n" {
		t.Errorf("a Dockerfile alone: %v", err)
	}
	p.nothingLeft()
	if _, err := build("FROM scratch\nCOPY a /\n", nil); err == nil || !strings.HasPrefix(err.Error(), "Dockerfile:2: ") {
		t.Errorf("no files: error %v", err)
	}
	var oe *OptionError
	if _, err := build("", nil); !errors.As(err, &oe) {
		t.Errorf("nothing: error %v", err)
	}
	if _, err := build("FROM scratch\n", func(o *Options) { o.Dockerfile = "x" }); !errors.As(err, &oe) {
		t.Errorf("two Dockerfiles: error %v", err)
	}
	if _, err := build(context[:len(context)/2], nil); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("half an archive: error %v", err)
	}
	p.nothingLeft()
}

// Nothing of a hostile archive gets out of it, and nothing of the host into the image.
func TestContextFromHostileArchive(t *testing.T) {
	host := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(host, []byte("S3CR3T"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string]string{
		"climbing name":   {"Dockerfile": "FROM scratch\nCOPY . /\n", "../../pwned": "x"},
		"Dockerfile link": {"Dockerfile": "@" + host},
		"file by link":    {"Dockerfile": "FROM scratch\nCOPY link /x\n", "link": "@" + host},
		"dir by link":     {"Dockerfile": "FROM scratch\nCOPY d/secret /x\n", "d": "@" + filepath.Dir(host)},
	} {
		p := newProject(t, nil)
		_, err := p.try(func(o *Options) { o.Context, o.ContextData = "", strings.NewReader(tarOf(t, files)) })
		if err == nil || strings.Contains(err.Error(), "S3CR3T") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
		if out, _ := exec.Command("grep", "-r", "S3CR3T", p.store).Output(); len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: the store has it: %s", name, out)
		}
		p.nothingLeft()
	}
}
