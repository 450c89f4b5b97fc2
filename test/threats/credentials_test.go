//go:build linux

package threats

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/builder/output"
)

// password is that of the user at the hub. Nobody else may see it, plain or
// as it goes over the line.
const password = "P4SSW0RD-at-the-hub-52c1"

var basicAuth = "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+password))

// keychain knows one registry.
type keychain struct{ host string }

func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if r.RegistryStr() != k.host {
		return authn.Anonymous, nil
	}
	return &authn.Basic{Username: "user", Password: password}, nil
}

// signedIn makes builds of the place have a password for the hub, which wants
// one of everybody.
func (p *place) signedIn() {
	p.change = func(o *builder.Options) { o.Registries = &builder.Registries{Keychain: keychain{p.hub.host}} }
	p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == basicAuth {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

// secretFree wants a text to hold no credential in any form.
func (p *place) secretFree(text string) {
	p.t.Helper()
	for _, s := range []string{password, strings.TrimPrefix(basicAuth, "Basic ")} {
		if strings.Contains(text, s) {
			p.t.Errorf("it holds the password: %s", text)
		}
	}
}

func TestD01TokenServersOfOthers(t *testing.T) {
	for name, realm := range map[string]string{
		"another host": "$SINK/token", "plain http": "http://198.51.100.1/token", "file": "file://$HOST/secret", "gopher": "gopher://$SINKHOST/", "nothing": "", "with a password": "http://evil:evil@$SINKHOST/token",
	} {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(t), newSink(t)
			s.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"anonymous"}`) }
			p.hub.image("private", nil, tarOf(t, file("f", "")))
			p.signedIn()
			realm := strings.NewReplacer("$SINKHOST", s.host, "$SINK", s.url, "$HOST", p.host.dir).Replace(realm)
			p.hub.hook = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="x",scope="repository:private:pull"`, realm))
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			_, err := p.try("FROM $HUB/private\n")
			p.refusal(err, "$HUB/private")
			p.secretFree(err.Error())
			s.silent()
		})
	}
}

func TestD01TokenServersOfAnotherDomain(t *testing.T) {
	p, s := newPlace(t), newSinkAt(t, "127.0.0.1:0")
	s.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"anonymous"}`) }
	p.signedIn()
	p.hub.hook = func(w http.ResponseWriter, _ *http.Request) bool {
		_, port, _ := strings.Cut(s.host, ":")
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://localhost:`+port+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err := p.try("FROM $HUB/private\n")
	p.refusal(err, "$HUB/private", "credentials were withheld")
	s.learnt(password, strings.TrimPrefix(basicAuth, "Basic "))
}

func TestD02Redirects(t *testing.T) {
	p, s := newPlace(t), newSink(t)
	data := tarOf(t, file("f", "f"))
	p.hub.image("private", nil, data)
	p.signedIn()
	allowed := p.hub.hook
	to := ""
	p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.RawQuery, "back") {
			http.Redirect(w, r, strings.ReplaceAll(to, "$PATH", r.URL.Path), http.StatusTemporaryRedirect)
			return true
		}
		return allowed(w, r)
	}
	// Elsewhere, the bytes are welcome, but nobody is told who asks.
	s.answer = func(w http.ResponseWriter, r *http.Request) { p.hub.serve(w, r) }
	to = s.url + "$PATH"
	p.accepted("FROM scratch\nCOPY --from=$HUB/private /f /f\n").holds("f", "f")
	s.learnt(password, strings.TrimPrefix(basicAuth, "Basic "))
	// And back again: the way was chosen by somebody else.
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+p.hub.host+r.URL.Path+"?back", http.StatusTemporaryRedirect)
	}
	p.emptyStore()
	p.refused("FROM scratch\nCOPY --from=$HUB/private /f /f\n", "$HUB/private", "refuses access")
	for _, where := range []string{"file://" + p.host.dir + "/secret", "ftp://$HUB/x", "http://198.51.100.1/x", "//%zz", "$LOOP"} {
		to = strings.NewReplacer("$HUB", p.hub.host, "$LOOP", "http://"+p.hub.host+"$PATH").Replace(where)
		p.emptyStore()
		p.refused("FROM scratch\nCOPY --from=$HUB/private /f /f\n", "$HUB/private")
	}
}

func TestD03UploadsToElsewhere(t *testing.T) {
	p, s := newPlace(t), newSink(t)
	p.signedIn()
	allowed := p.hub.hook
	location := ""
	p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if allowed(w, r) {
			return true
		}
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/uploads/") {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusAccepted)
			return true
		}
		return false
	}
	push := func() error {
		registries := &builder.Registries{Keychain: keychain{p.hub.host}}
		sink, err := output.NewRegistry(registries, p.hub.host+"/me/app")
		must(t, err)
		defer func() { must(t, sink.Close()) }()
		_, err = p.try("FROM scratch\nCOPY works* /\n", func(o *builder.Options) { o.Registries, o.Sinks = registries, []builder.Sink{sink} })
		return err
	}
	p.write("works1", "x")
	s.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
	for _, location = range []string{s.url + "/upload", "//" + s.host + "/upload", "http://evil:evil@" + s.host + "/upload"} {
		err := push()
		p.refusal(err, "$HUB/me/app")
		p.secretFree(err.Error())
	}
	s.learnt(password, strings.TrimPrefix(basicAuth, "Basic "))
	for _, location = range []string{"file://" + p.host.dir + "/victim-full", "http://198.51.100.1/upload", "", "%zz://"} {
		p.refusal(push(), "$HUB/me/app")
	}
	if len(p.hub.requests("PUT /v2/me/app/manifests")) > 0 {
		t.Error("an image that is not there was given its name")
	}
}

// dockerConfig writes the configuration in which the program looks for credentials.
func (p *place) dockerConfig(config map[string]any) {
	p.t.Helper()
	dir := filepath.Join(p.dir, "out")
	must(p.t, os.MkdirAll(dir, 0o755))
	must(p.t, os.WriteFile(filepath.Join(dir, "config.json"), jsonOf(p.t, config), 0o600))
}

// signedInCall calls the program with that configuration, and with helpers in PATH.
func (p *place) signedInCall(args ...string) outcome {
	p.t.Helper()
	return p.callWith(func(cmd *exec.Cmd) {
		out := filepath.Join(p.dir, "out")
		cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+out, "PATH="+out+":"+os.Getenv("PATH"))
	}, args...)
}

func TestD04CredentialsOfOneHostOnly(t *testing.T) {
	p := newPlace(t)
	p.hub.image("private", nil, tarOf(t, file("f", "")))
	p.signedIn()
	auth := map[string]any{"auth": strings.TrimPrefix(basicAuth, "Basic ")}
	name, port, _ := strings.Cut(p.hub.host, ":")
	for _, host := range []string{name, name + ":1", name + ":" + port + "1", p.hub.host + ".evil", "evil." + p.hub.host, p.hub.host + "@evil", "https://index.docker.io/v1/"} {
		p.dockerConfig(map[string]any{"auths": map[string]any{host: auth}})
		o := p.signedInCall("pull", p.hub.host+"/private")
		p.fails(o, 1, "$HUB/private", "refuses access")
	}
	for _, r := range p.hub.requests("") {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s was shown credentials of another host", r.URL)
		}
	}
	p.dockerConfig(map[string]any{"auths": map[string]any{p.hub.host: auth}})
	if o := p.signedInCall("pull", p.hub.host+"/private"); o.code != 0 {
		t.Errorf("its own credentials do not work: %s", o.stderr)
	}
	// A helper that is not there is an error, and no reason to try others.
	p.dockerConfig(map[string]any{"auths": map[string]any{p.hub.host: auth}, "credHelpers": map[string]any{p.hub.host: "missing"}})
	p.fails(p.signedInCall("pull", p.hub.host+"/private"), 1, "$HUB/private", "docker-credential-missing")
	// Nor is a path one, even if something lies there.
	pwn := filepath.Join(p.context, "docker-credential-..", "pwn")
	must(t, os.MkdirAll(filepath.Dir(pwn), 0o755))
	must(t, os.WriteFile(pwn, []byte("#!/bin/sh\ntouch "+p.host.dir+"/pwned\n"), 0o755))
	p.dockerConfig(map[string]any{"credHelpers": map[string]any{p.hub.host: "../pwn"}})
	p.fails(p.signedInCall("pull", p.hub.host+"/private"), 1, "$HUB/private")
}

func TestD05HelpersThatTalk(t *testing.T) {
	p := newPlace(t)
	p.hub.image("private", nil, tarOf(t, file("f", "")))
	p.signedIn()
	p.dockerConfig(map[string]any{"credHelpers": map[string]any{p.hub.host: "leaky"}})
	helper := fmt.Sprintf("#!/bin/sh\necho '{\"Username\":\"user\",\"Secret\":\"%s\"}'\necho %s >&2\nexit 1\n", password, password)
	must(t, os.WriteFile(filepath.Join(p.dir, "out", "docker-credential-leaky"), []byte(helper), 0o755))
	o := p.signedInCall("pull", p.hub.host+"/private")
	p.fails(o, 1, "$HUB/private", "credentials")
	p.secretFree(o.last())
	p.write("Dockerfile", p.fake("FROM $HUB/private\n"))
	o = p.signedInCall("build", "--progress", "rawjson", ".")
	p.fails(o, 1, "$HUB/private")
	p.secretFree(o.stdout + o.last()) // what the helper says to the user itself is between the two
}

func TestD06AnswersWithoutEnd(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Method != http.MethodHead {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
				return
			}
		}
	}
	for name, hook := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"ping": func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(401); endless(w, r); return true },
		"manifest": func(w http.ResponseWriter, r *http.Request) bool {
			return onPath(r, "/manifests/", func() { endless(w, r) })
		},
		"error": func(w http.ResponseWriter, r *http.Request) bool {
			return onPath(r, "/manifests/", func() { w.WriteHeader(500 - 96); endless(w, r) })
		},
		"token": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				endless(w, r)
				return true
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
			w.WriteHeader(401)
			return true
		},
		"blob": func(w http.ResponseWriter, r *http.Request) bool {
			return onPath(r, "/blobs/", func() { endless(w, r) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.hub.image("endless", nil, tarOf(t, file("f", "")))
			p.hub.hook = hook
			p.refused("FROM scratch\nCOPY --from=$HUB/endless / /\n", "$HUB/endless")
		})
	}
}

// onPath answers requests whose path has a part.
func onPath(r *http.Request, part string, answer func()) bool {
	if !strings.Contains(r.URL.Path, part) {
		return false
	}
	answer()
	return true
}

func TestB15InsecureIsOneHost(t *testing.T) {
	p := newPlace(t)
	tokens := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a token server nobody vouches for was asked: %s %s", r.URL, r.Header.Get("Authorization"))
	}))
	tokens.Config.ErrorLog = quiet
	defer tokens.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+strings.Replace(tokens.URL, "127.0.0.1", "localhost", 1)+`"`)
		w.WriteHeader(401)
	}))
	secure.Config.ErrorLog = quiet
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	p.change = func(o *builder.Options) {
		o.Registries = &builder.Registries{Keychain: keychain{host}, Insecure: map[string]bool{host: true}}
	}
	p.refused("FROM "+host+"/a\n", host+"/a", "certificate")
}

func TestX33MirrorsSeeTheirOwnCredentialsOnly(t *testing.T) {
	p, s := newPlace(t), newSink(t)
	p.hub.image("private", nil, tarOf(t, file("f", "f")))
	p.signedIn()
	signedIn := p.change
	p.change = func(o *builder.Options) {
		signedIn(o)
		o.Registries.Mirrors = map[string][]string{p.hub.host: {s.host}}
	}
	p.accepted("FROM scratch\nCOPY --from=$HUB/private /f /f\n").holds("f", "f")
	s.learnt(password, strings.TrimPrefix(basicAuth, "Basic "))
}

func TestA23CredentialsInWhatIsWritten(t *testing.T) {
	p := newPlace(t)
	p.hub.image("private", nil, tarOf(t, file("f", "f")))
	p.signedIn()
	p.dockerConfig(map[string]any{"auths": map[string]any{p.hub.host: map[string]any{"auth": strings.TrimPrefix(basicAuth, "Basic ")}}})
	p.write("Dockerfile", p.fake("FROM $HUB/private\nCOPY --from=$HUB/private /f /g\n"))
	for _, progress := range []string{"plain", "rawjson"} {
		o := p.signedInCall("build", "--progress", progress, "--no-cache", "-t", p.hub.host+"/me/app", "--push", "--metadata-file", filepath.Join(p.dir, "out", "meta.json"), ".")
		if o.code != 0 {
			t.Fatalf("%s", o.stderr)
		}
		p.secretFree(o.stdout + o.stderr)
	}
	meta, err := os.ReadFile(filepath.Join(p.dir, "out", "meta.json"))
	must(t, err)
	p.secretFree(string(meta))
	p.nowhere(p.store, password, strings.TrimPrefix(basicAuth, "Basic "))
}

func TestD02ImagesOfHostsThatSendUsAway(t *testing.T) {
	p, s := newPlace(t), newSink(t)
	p.signedIn()
	allowed := p.hub.hook
	p.hub.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			http.Redirect(w, r, s.url+r.URL.Path, http.StatusFound)
			return true
		}
		return allowed(w, r)
	}
	p.refused("FROM $HUB/private\n", "$HUB/private")
	s.learnt(password, strings.TrimPrefix(basicAuth, "Basic "))
}
