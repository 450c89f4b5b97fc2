//go:build linux

package threats

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/builder"
)

// web serves answers for ADD and for contexts.
func (p *place) web(answer http.HandlerFunc) string {
	p.t.Helper()
	s := httptest.NewUnstartedServer(answer)
	s.Config.ErrorLog = quiet
	s.Start()
	p.t.Cleanup(s.Close)
	return s.URL
}

func TestA05NamesThatServersGive(t *testing.T) {
	p := newPlace(t)
	name := ""
	url := p.web(func(w http.ResponseWriter, _ *http.Request) {
		if name != "" {
			w.Header().Set("Content-Disposition", "attachment; filename="+name)
		}
		fmt.Fprint(w, "served")
	})
	for _, given := range []string{
		`"` + strings.Repeat("../", 20) + p.host.dir + `/pwned"`, `"` + p.host.dir + `/pwned"`, `".."`, `"."`, `""`, `"/"`, `"a/"`,
		`"` + strings.Repeat("n", 5000) + `"`, `plain`, `"b\"c"`, `*=UTF-8''..%2f..%2fpwned`,
	} {
		name = given // and it is not even asked: the URL has a name, or the frontend
		p.part(given[:min(40, len(given))], func() {
			p.accepted("FROM scratch\nADD "+url+"/x /d/\n").holds("d/x", "served")
			p.accepted("FROM scratch\nADD "+url+"/ /d/\n").holds("d/__unnamed__", "served")
		})
	}
	name = ""
	for _, path := range []string{"/%2e%2e%2f%2e%2e%2fx", "/..%2f..%2fx", "/a/../../x", "/x%00y", "/%2fetc%2fpasswd"} {
		got, err := p.try("FROM scratch\nADD " + url + path + " /d/\n")
		if err != nil {
			p.refusal(err)
			continue
		}
		children, err := got.view.ReadDir(t.Context(), "d")
		must(t, err)
		if len(children) != 1 {
			t.Errorf("%s makes %v", path, children)
		}
	}
	for _, dockerfile := range []string{"FROM scratch AS ../../x\n", "FROM ../../x\n", "FROM scratch\nCOPY --from=../../x a /\n"} {
		p.refused(dockerfile)
	}
	p.write("f", "")
	for change, o := range map[string]func(*builder.Options){
		"target": func(o *builder.Options) { o.Target = "../../x" }, "tag": func(o *builder.Options) { o.Tags = []string{"../../x"} },
		"context": func(o *builder.Options) { o.Contexts = map[string]string{"../../x": p.context} },
	} {
		p.part(change, func() {
			_, err := p.try("FROM scratch\nCOPY f /\n", o)
			p.refusal(err, "../../x")
		})
	}
}

func TestX31WebServers(t *testing.T) {
	p, s := newPlace(t), newSink(t)
	secretHeader := func(o *builder.Options) {
		o.Secrets = []builder.Secret{{ID: "HTTP_AUTH_HEADER_127.0.0.1", Value: func() ([]byte, error) { return []byte("Bearer " + password), nil }}}
	}
	handler := http.NotFound
	url := p.web(func(w http.ResponseWriter, r *http.Request) { handler(w, r) })
	redirect := func(to string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	// Only the web, wherever it leads.
	for _, to := range []string{"file:///etc/passwd", "file://" + p.host.dir + "/secret", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:text/plain,x", "/loop"} {
		handler = redirect(to)
		p.part(to, func() { p.refused("FROM scratch\nADD "+url+"/x /\n", url+"/x") })
	}
	// Elsewhere nobody is shown what was meant for here.
	handler = redirect(s.url + "/x")
	s.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "elsewhere") }
	p.accepted("FROM scratch\nADD "+url+"/x /x\n", secretHeader).holds("x", "elsewhere")
	s.learnt(password)
	s.answer = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url+"/back", http.StatusFound) }
	back := ""
	handler = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			back = r.Header.Get("Authorization")
			fmt.Fprint(w, "back")
			return
		}
		http.Redirect(w, r, s.url+"/x", http.StatusFound)
	}
	p.accepted("FROM scratch\nADD "+url+"/y /y\n", secretHeader).holds("y", "back")
	if back != "" {
		t.Errorf("on the way back it has credentials again: %s", back)
	}
	// Bodies that are not what they say.
	body := func(header, value string, f func(http.ResponseWriter)) {
		handler = func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(header, value); f(w) }
	}
	p.change = func(o *builder.Options) { o.Bounds.Download = 1000 }
	body("X", "y", func(w http.ResponseWriter) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
				return
			}
		}
	})
	p.refused("FROM scratch\nADD "+url+"/endless /\n", url+"/endless", "larger than")
	body("Content-Length", "1001", func(w http.ResponseWriter) {})
	p.refused("FROM scratch\nADD "+url+"/long /\n", url+"/long", "larger than")
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(make([]byte, 1<<20))
	must(t, err)
	must(t, z.Close())
	body("Content-Encoding", "gzip", func(w http.ResponseWriter) { _, _ = w.Write(bomb.Bytes()) })
	p.refused("FROM scratch\nADD "+url+"/bomb /\n", url+"/bomb", "larger than")
	body("Content-Range", "bytes 5-9/10", func(w http.ResponseWriter) { w.WriteHeader(206); fmt.Fprint(w, "part") })
	p.refused("FROM scratch\nADD "+url+"/part /\n", url+"/part", "206")
	// That nothing has changed is only believed of what has the digest.
	served := "first"
	handler = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"same"`)
		if r.Header.Get("If-None-Match") == `"same"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, served)
	}
	p.accepted("FROM scratch\nADD "+url+"/e /e\n").holds("e", "first")
	served = "second"
	p.refused("FROM scratch\nADD --checksum="+digest.FromString("second").String()+" "+url+"/e /e\n", "digest mismatch")
}

func TestX32Checksums(t *testing.T) {
	p := newPlace(t)
	url := p.web(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "content") })
	right := digest.FromString("content")
	p.accepted("FROM scratch\nADD --checksum="+right.String()+" "+url+"/f /f\n").holds("f", "content")
	for _, sum := range []string{"sha256:" + strings.Repeat("0", 64), strings.ToUpper(right.String()), "sha256:" + strings.ToUpper(right.Encoded()), right.Encoded(),
		"md5:9a0364b9e99bb480dd25e1f0284c8555", "sha256:", "sha256:" + right.Encoded()[:63], "sha512:" + right.Encoded(), "../../x:" + right.Encoded()} {
		p.part(sum, func() { p.refused("FROM scratch\nADD --checksum=" + sum + " " + url + "/f /f\n") })
	}
	p.write("local", "")
	p.refused("FROM scratch\nADD --checksum=" + right.String() + " local /\n")
}

func TestA11CredentialsInURLs(t *testing.T) {
	p := newPlace(t)
	handler := http.NotFound
	url := p.web(func(w http.ResponseWriter, r *http.Request) { handler(w, r) })
	withUser := strings.Replace(url, "http://", "http://user:"+password+"@", 1)
	written := filepath.Join(p.dir, "out")
	must(t, os.MkdirAll(written, 0o755))
	for name, h := range map[string]func(http.ResponseWriter, *http.Request){
		"404": http.NotFound, "401": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
	} {
		handler = h
		for _, line := range []string{"ADD " + withUser + "/f /f", "ADD " + withUser + "/r.git /r", "ADD " + withUser + "/r.git#main:sub /r"} {
			p.write("Dockerfile", "FROM scratch\n"+line+"\n")
			for _, progress := range []string{"plain", "rawjson"} {
				o := p.call("build", "--progress", progress, ".")
				p.part(name+line[len(line)-8:]+progress, func() {
					p.fails(o, 1)
					excerpt := strings.ReplaceAll(o.stderr, line, "") // the line of the Dockerfile is its author's own
					p.secretFree(o.stdout + excerpt)
				})
			}
		}
		o := p.call("build", withUser+"/context.tar")
		p.fails(o, 1)
		p.secretFree(o.stdout + o.stderr)
	}
	handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "f") }
	p.write("Dockerfile", "FROM scratch\nADD "+withUser+"/f /f\n")
	o := p.call("build", "--progress", "rawjson", "-t", "mine", "--metadata-file", filepath.Join(written, "meta"), "-o", "type=oci,dest="+filepath.Join(written, "image.tar"), ".")
	if o.code != 0 {
		t.Fatal(o.stderr)
	}
	p.secretFree(o.stdout + o.stderr)
	p.nowhere(written, password)
	p.nowhere(p.store, password)
}

func TestB07HalfContexts(t *testing.T) {
	p := newPlace(t)
	handler := http.NotFound
	url := p.web(func(w http.ResponseWriter, r *http.Request) { handler(w, r) })
	evil := unended(t, symlink("Dockerfile", p.host.dir+"/victim-full"), file("more", strings.Repeat("x", 5000)))
	// First an archive that breaks off, with a link where the Dockerfile is to be; then the text.
	handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(evil[:3000]) }
	_, err := p.try("", fromURL(url+"/context.tar"))
	p.refusal(err, url)
	handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "FROM scratch\nLABEL a=b\n") }
	must(t, errOf(p.try("", fromURL(url+"/context.tar"))))
	whole := slices.Concat(evil, make([]byte, 1024))
	handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(whole) }
	_, err = p.try("", fromURL(url+"/linked.tar"))
	p.refusal(err)
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
		p.write("Dockerfile", "FROM scratch\nCOPY f /\n")
		p.write("f", "")
		os.Remove(filepath.Join(p.context, name))
		must(t, os.Symlink(p.host.dir+"/secret", filepath.Join(p.context, name)))
		_, err := p.try("", func(o *builder.Options) { o.DockerfileData = nil })
		p.part(name, func() { p.refusal(err, name) })
		must(t, os.Remove(filepath.Join(p.context, name)))
	}
}

func errOf(_ *result, err error) error { return err }

// fromURL makes the context, and the Dockerfile, that of a URL.
func fromURL(url string) func(*builder.Options) {
	return func(o *builder.Options) { o.Context, o.DockerfileData = url, nil }
}

func TestB11ContextsThatClimb(t *testing.T) {
	p := newPlace(t)
	for name, entries := range map[string][]entry{
		"up":        {file("../pwned", "x")},
		"link":      {symlink("l", p.host.dir), file("l/pwned", "x"), file("l/secret", "inside")},
		"hard link": {hardlink("h", p.host.dir+"/secret")},
		"absolute":  {file(p.host.dir+"/pwned", "x")},
	} {
		data := tarOf(t, entries...)
		got, err := p.try("FROM scratch\nCOPY . /\n", p.fromTar(data))
		p.part(name, func() {
			if err != nil {
				p.refusal(err)
				return
			}
			if _, err := got.view.Lookup(t.Context(), p.inside("secret")); err == nil {
				got.holds(p.inside("secret"), "inside")
			}
		})
	}
}

func TestT39DockerfilesOfArchives(t *testing.T) {
	p := newPlace(t)
	for name, e := range map[string]entry{
		"link to the host": symlink("Dockerfile", p.host.dir+"/secret"), "link out": symlink("Dockerfile", "../../../etc/passwd"), "link to itself": symlink("Dockerfile", "Dockerfile"),
		"pipe": fifo("Dockerfile"), "directory": dir("Dockerfile"), "none": file("other", ""), "huge": file("Dockerfile", strings.Repeat("# x\n", 5<<20)),
	} {
		_, err := p.try("", p.fromTar(tarOf(t, e)), func(o *builder.Options) { o.DockerfileData = nil })
		p.part(name, func() { p.refusal(err) })
	}
	good := "FROM scratch\nCOPY . /\n"
	linked := tarOf(t, file("real", good), symlink("Dockerfile", "real"))
	must(t, errOf(p.try("", p.fromTar(linked), func(o *builder.Options) { o.DockerfileData = nil })))
	// The same of a folder.
	os.Remove(filepath.Join(p.context, "Dockerfile"))
	path := filepath.Join(p.context, "Dockerfile")
	for name, do := range map[string]func() error{
		"pipe": func() error { return mkfifo(path) }, "directory": func() error { return os.Mkdir(path, 0o755) }, "link": func() error { return os.Symlink(p.host.dir+"/secret", path) },
		"huge": func() error { return os.WriteFile(path, bytes.Repeat([]byte("# x\n"), 5<<20), 0o644) }, "sparse": func() error { return sparse(path, 2<<30) },
	} {
		must(t, do())
		_, err := p.try("", func(o *builder.Options) { o.DockerfileData = nil })
		p.part("folder: "+name, func() { p.refusal(err, "Dockerfile") })
		must(t, os.RemoveAll(path))
	}
}
