package builder

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNamedContextIsADirectory(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY --from=other . /o/\nCOPY f /\n", "f": "main", ".dockerignore": "nothing\n"})
	other := newProject(t, map[string]string{"f": "other", "secret": "s", ".dockerignore": "secret\n.dockerignore\n"})
	change := func(o *Options) { o.Contexts = map[string]string{"other": other.dir} }
	got := files(t, p.build(change))
	if len(got) != 2 || got["o/f"] != "other" || got["f"] != "main" {
		t.Errorf("files %v", got)
	}
	// What its own ignore file leaves out is no part of the key, the rest is.
	other.write("secret", "changed")
	if p.build(change); len(p.did()) != 0 {
		t.Errorf("it did %v", p.did())
	}
	other.write("f", "changed")
	if got := files(t, p.build(change)); got["o/f"] != "changed" {
		t.Errorf("files %v", got)
	}
}

func TestNamedContextTakesThePlaceOfAnImage(t *testing.T) {
	base := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nENV WHO=base\nCOPY f /\n", "f": "base"})
	base.build(func(o *Options) { o.Tags = []string{"real:1"} })
	p := newProject(t, map[string]string{"Dockerfile": "FROM alpine\nCOPY g /\n", "g": "x"})
	img := p.build(func(o *Options) {
		o.Store = base.store
		o.Contexts = map[string]string{"alpine:latest": "docker-image://real:1"}
	})
	if got := files(t, img); got["f"] != "base" || got["g"] != "x" || !slices.Contains(config2(t, img).Config.Env, "WHO=base") {
		t.Errorf("files %v", got)
	}
}

func TestNamedContextFromTheNetwork(t *testing.T) {
	url, _ := gitOrigin(t, map[string]string{"d/f": "git"})
	w := newWebSite(t, map[string]string{"/f": "web"})
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY --from=repo d/f /git\nCOPY --from=file context /web\n"})
	change := func(o *Options) { o.Contexts = map[string]string{"repo": url + "#main", "file": w.URL + "/f"} }
	if got := files(t, p.build(change)); got["git"] != "git" || got["web"] != "web" {
		t.Errorf("files %v", got)
	}
	p.build(change)
	for _, e := range p.events {
		if e.Kind == "done" && strings.Contains(e.Name, "COPY") {
			t.Errorf("the second build did %s", e.Name)
		}
	}
	p.nothingLeft()
}

// layoutOf turns the store of a project into a layout elsewhere: a store is one.
func layoutOf(t *testing.T, p *project) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if out, err := exec.Command("cp", "-r", p.store, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func TestNamedContextIsAnOCILayout(t *testing.T) {
	base := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nENV WHO=layout\nCOPY f /\n", "f": "base"})
	img := base.build(func(o *Options) { o.Tags = []string{"real:1"} })
	dir := layoutOf(t, base)
	for _, spec := range []string{dir, dir + "@" + img.Descriptor.Digest.String()} {
		p := newProject(t, map[string]string{"Dockerfile": "FROM base\nCOPY --from=base f /copied\n"})
		got := p.build(func(o *Options) { o.Contexts, o.Pull = map[string]string{"base": "oci-layout://" + spec}, true })
		if fs := files(t, got); fs["f"] != "base" || fs["copied"] != "base" || !slices.Contains(config2(t, got).Config.Env, "WHO=layout") {
			t.Errorf("%s: files %v", spec, fs)
		}
	}
	p := newProject(t, map[string]string{"Dockerfile": "FROM base\n"})
	blob := filepath.Join("blobs", "sha256", img.Descriptor.Digest.Encoded())
	damaged, linked := layoutOf(t, base), layoutOf(t, base)
	if err := os.WriteFile(filepath.Join(damaged, blob), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "manifest")
	if err := errors.Join(os.Rename(filepath.Join(linked, blob), elsewhere), os.Symlink(elsewhere, filepath.Join(linked, blob))); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ spec, says string }{
		"no such tag":   {dir + ":nope", `no image "nope"`},
		"no layout":     {t.TempDir(), "no index.json"},
		"nothing there": {dir + "/nowhere", "no such file"},
		"no digest":     {dir + "@sha256:1", "sha256:1"},
		"damaged":       {damaged, "digest"},
		"a link out":    {linked, "blob"},
	} {
		_, err := p.try(func(o *Options) { o.Contexts = map[string]string{"base": "oci-layout://" + tc.spec} })
		if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.says)
		}
	}
}

func TestNamedContextFails(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY --from=other f /\n", "file": "x"})
	for name, tc := range map[string]struct {
		contexts map[string]string
		says     string
	}{
		"no directory": {map[string]string{"other": p.dir + "/nowhere"}, "there is no directory"},
		"a file":       {map[string]string{"other": p.dir + "/file"}, "is not a directory"},
		"nothing":      {map[string]string{"other": ""}, "no directory, image or URL"},
		"bad name":     {map[string]string{"A B": p.dir}, "is not a name"},
		"twice":        {map[string]string{"x": p.dir, "x:latest": p.dir}, "are one name"},
	} {
		var oe *OptionError
		_, err := p.try(func(o *Options) { o.Contexts = tc.contexts })
		if !errors.As(err, &oe) || oe.Field != "build-context" || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.says)
		}
	}
	_, err := p.try(func(o *Options) { o.Contexts = map[string]string{"other": t.TempDir()} })
	if err == nil || !strings.HasPrefix(err.Error(), "Dockerfile:2: ") {
		t.Errorf("a missing file: error %v", err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(p.dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err = p.try(func(o *Options) {
		o.DockerfileData = []byte("FROM scratch\nCOPY --from=other link /\n")
		o.Contexts = map[string]string{"other": p.dir}
	})
	if err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a link out of the context: error %v", err)
	}
}
