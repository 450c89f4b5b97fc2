package git

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// gitServer is a remote over HTTP, by git's own server.
type gitServer struct {
	*httptest.Server
	password string // what it wants; empty lets everybody in

	mu   sync.Mutex
	auth []string // the Authorization of all requests
}

func newGitServer(t *testing.T, o *origin) *gitServer {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("no git here")
	}
	s := &gitServer{}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(o.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.auth = append(s.auth, r.Header.Get("Authorization"))
		s.mu.Unlock()
		if _, p, _ := r.BasicAuth(); s.password != "" && p != s.password && r.Header.Get("Authorization") != "Custom "+s.password {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if p := r.Header.Get("Git-Protocol"); p != "" {
			h := *backend
			h.Env = append(h.Env[:len(h.Env):len(h.Env)], "GIT_PROTOCOL="+p)
			h.ServeHTTP(w, r)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *gitServer) url() string { return s.URL + "/origin.git/.git" }

func withUser(url, user string) string { return strings.Replace(url, "//", "//"+user+"@", 1) }

func TestOverHTTP(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "one"})
	first := o.git("rev-parse", "HEAD")
	o.git("tag", "-a", "-m", "t", "v1")
	o.commit(map[string]string{"f": "two"})
	s := newGitServer(t, o)
	g := newGit(t)
	g.allowFile = false
	for ref, want := range map[string]string{"": "644 two", "v1": "644 one", first: "644 one"} {
		for _, keep := range []bool{false, true} {
			if got := mustCheckout(t, g, &graph.Git{Remote: s.url(), Ref: ref, KeepGitDir: keep}); got["f"] != want {
				t.Errorf("%q: %v, want %s", ref, got, want)
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "x"})
	s := newGitServer(t, o)
	s.password = "S3CR3T"
	host := strings.TrimPrefix(s.URL, "http://")
	for name, tc := range map[string]struct {
		user    string
		secrets map[string]string
		ok      bool
	}{
		"none":            {},
		"wrong":           {user: "u:wrong"},
		"in the URL":      {user: "u:S3CR3T", ok: true},
		"token":           {secrets: map[string]string{"GIT_AUTH_TOKEN": "S3CR3T\n"}, ok: true},
		"token of host":   {secrets: map[string]string{"GIT_AUTH_TOKEN": "no", "GIT_AUTH_TOKEN." + host: "S3CR3T"}, ok: true},
		"header":          {secrets: map[string]string{"GIT_AUTH_HEADER": "Custom S3CR3T"}, ok: true},
		"of another host": {secrets: map[string]string{"GIT_AUTH_TOKEN.example.com": "S3CR3T"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGit(t)
			g.Secret = secrets(tc.secrets)
			op := &graph.Git{Remote: s.url(), TokenSecret: "GIT_AUTH_TOKEN", HeaderSecret: "GIT_AUTH_HEADER", KeepGitDir: true}
			if tc.user != "" {
				op.Remote = withUser(op.Remote, tc.user)
			}
			got, err := checkoutOf(t, g, op)
			if tc.ok != (err == nil) || tc.ok && got["f"] != "644 x" {
				t.Fatalf("got %v, %v", got, err)
			}
			if err != nil && (strings.Contains(err.Error(), tc.user) && tc.user != "" || !strings.Contains(err.Error(), "GIT_AUTH_TOKEN")) {
				t.Errorf("error %v", err)
			}
			for file, data := range got {
				if strings.Contains(data, "S3CR3T") {
					t.Errorf("%s has the password", file)
				}
			}
			if out, _ := exec.Command("grep", "-r", "S3CR3T", g.Store.Path()).Output(); len(out) > 0 {
				t.Errorf("the store has the password: %s", out)
			}
		})
	}
}

// Credentials are for their host: a redirect elsewhere must not see them.
func TestCredentialsFollowNoRedirect(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "x"})
	there := newGitServer(t, o)
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(there.URL, "127.0.0.1", "localhost", 1)+r.URL.String(), http.StatusMovedPermanently)
	}))
	defer here.Close()
	remote := here.URL + "/origin.git/.git"
	if got := mustCheckout(t, newGit(t), &graph.Git{Remote: remote}); got["f"] != "644 x" {
		t.Errorf("without credentials: %v", got)
	}
	_, err := checkoutOf(t, newGit(t), &graph.Git{Remote: withUser(remote, "u:S3CR3T")})
	if err == nil || strings.Contains(err.Error(), "S3CR3T") {
		t.Errorf("with credentials: error %v", err)
	}
	for _, a := range there.auth {
		if a != "" {
			t.Errorf("the other host saw %q", a)
		}
	}
}

// Servers that know no shallow fetches, or plain files, do as well.
func TestFromPlainFilesOverHTTP(t *testing.T) {
	o := newOrigin(t, map[string]string{"f": "one"})
	first := o.git("rev-parse", "HEAD")
	o.commit(map[string]string{"f": "two"})
	o.git("update-server-info")
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(o.dir, ".git"))))
	defer s.Close()
	for ref, want := range map[string]string{"main": "644 two", first: "644 one"} {
		if got := mustCheckout(t, newGit(t), &graph.Git{Remote: s.URL + "/", Ref: ref}); got["f"] != want {
			t.Errorf("%s: %v", ref, got)
		}
	}
}

func secrets(m map[string]string) func(string) ([]byte, bool, error) {
	return func(id string) ([]byte, bool, error) {
		v, ok := m[id]
		return []byte(v), ok, nil
	}
}

func TestE1ARemoteThatIsNotThereIsAskedAgain(t *testing.T) {
	var said []string
	ctx := wait.With(t.Context(), func(text string) { said = append(said, text) })
	c := gitIn(t, t.TempDir())
	_, err := c.Repo(&graph.Git{Remote: "http://127.0.0.1:1/r.git"}).Pin(ctx)
	if err == nil || !strings.Contains(err.Error(), "given up after 3 tries") {
		t.Errorf("error %v", err)
	}
	if len(said) != 2 || !strings.HasPrefix(said[0], "git ls-remote from 127.0.0.1:1: ") {
		t.Errorf("said %q", said)
	}
}
