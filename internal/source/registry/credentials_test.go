package registry

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

// wallet has one credential, for every registry.
type wallet struct{}

func (wallet) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "user", Password: "secret"}, nil
}

// witness notes what it was shown.
func witness(t *testing.T, answer http.HandlerFunc) (*httptest.Server, *[]string) {
	shown := &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*shown = append(*shown, r.Header.Get("Authorization"))
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s, shown
}

// basicHub asks for a password, and hands what is authorised to then.
func basicHub(t *testing.T, then http.HandlerFunc) *hub {
	return newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		if ignorePing(r) {
			return false
		}
		then(w, r)
		return true
	})
}

func TestRedirectDropsCredentials(t *testing.T) {
	data, desc := blobOf(100)
	other, shown := witness(t, func(w http.ResponseWriter, r *http.Request) { w.Write(data) })
	h := basicHub(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/x", http.StatusTemporaryRedirect)
	})
	r := quick()
	r.Keychain = wallet{}
	rd, err := repo(t, r, h.host+"/a").Fetch(t.Context(), desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	rd.Close()
	if len(*shown) != 1 || (*shown)[0] != "" {
		t.Errorf("the other host was shown %q", *shown)
	}
}

func TestCredentialsAreNotRestoredOnTheWayBack(t *testing.T) {
	_, desc := blobOf(100)
	var h *hub
	back, _ := witness(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, h.URL+"/v2/back", http.StatusTemporaryRedirect)
	})
	returned := false
	h = newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		_, _, authorised := r.BasicAuth()
		if r.URL.Path == "/v2/back" {
			returned = true
			if authorised {
				t.Error("credentials are restored")
			}
			w.WriteHeader(404)
			return true
		}
		if !authorised {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		if !ignorePing(r) {
			http.Redirect(w, r, back.URL, http.StatusTemporaryRedirect)
		}
		return true
	})
	r := quick()
	r.Keychain = wallet{}
	_, err := repo(t, r, h.host+"/a").Fetch(t.Context(), desc, 0)
	wantError(t, err, "not found")
	if !returned {
		t.Error("the chain was not followed")
	}
}

func TestHostileRedirects(t *testing.T) {
	_, desc := blobOf(100)
	for target, word := range map[string]string{
		"http://registry.example/x": "plain http to registry.example",
		"http://10.1.2.3/x":         "plain http to 10.1.2.3",
		"file:///etc/passwd":        "URL scheme",
		"gopher://127.0.0.1/":       "URL scheme",
		"/v2/a/blobs/again":         "more than 10 redirects",
		"":                          "without a Location",
	} {
		h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
			if ignorePing(r) {
				return false
			}
			if target != "" {
				w.Header().Set("Location", target)
			}
			w.WriteHeader(307)
			return true
		})
		_, err := repo(t, quick(), h.host+"/a").Fetch(t.Context(), desc, 0)
		wantError(t, err, word)
	}
}

func TestCheckLeave(t *testing.T) {
	tests := []struct {
		from, to string
		ok       bool
	}{
		{"https://registry.example/a", "https://cdn.example/b", true},
		{"https://registry.example/a", "http://registry.example/b", false},
		{"https://registry.example/a", "https://169.254.169.254/b", false},
		{"https://registry.example/a", "https://127.0.0.1/b", false},
		{"https://registry.example/a", "https://[::1]/b", false},
		{"https://10.0.0.1/a", "https://10.0.0.2/b", true},
		{"http://127.0.0.1:5000/a", "http://127.0.0.1:9000/b", true},
	}
	for _, tt := range tests {
		from, _ := url.Parse(tt.from)
		to, _ := url.Parse(tt.to)
		if err := checkLeave(from, to); (err == nil) != tt.ok {
			t.Errorf("%s to %s: %v", tt.from, tt.to, err)
		}
	}
}

func TestPlainHTTPOnlyWhereAllowed(t *testing.T) {
	r := quick()
	r.Insecure = map[string]bool{"plain.example:5000": true}
	for host, ok := range map[string]bool{
		"127.0.0.1:5000": true, "localhost:5000": true, "localhost": true, "127.9.9.9": true, "[::1]:5000": true,
		"plain.example:5000": true, "plain.example": false, "plain.example:5001": false,
		"10.0.0.1:5000": false, "192.168.1.1": false, "172.16.0.1": false,
		"registry.localhost": false, "localhost.example": false, "registry.example": false,
	} {
		if got := r.clearAllowed(host); got != ok {
			t.Errorf("%s: %v", host, got)
		}
		if ok {
			continue
		}
		req := httptest.NewRequest("GET", "http://"+host+"/v2/", nil)
		if _, err := r.base().RoundTrip(req); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestUnverifiedTLSOnlyWhereAllowed(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "https://")
	r := quick()
	r.Insecure = map[string]bool{host: true}
	if _, _, err := repo(t, r, host+"/a").Manifest(t.Context(), "v1"); err != nil {
		t.Error(err)
	}
	_, _, err := repo(t, quick(), host+"/a").Manifest(t.Context(), "v1")
	wantError(t, err, "certificate")
}

func TestTokenServerOfAnotherDomainGetsNoCredentials(t *testing.T) {
	tests := []struct {
		home, host string
		trusted    bool
		shown      bool
	}{
		{"index.docker.io", "auth.docker.io", false, true},
		{"registry.gitlab.com", "gitlab.com", false, true},
		{"registry.example", "registry.example", false, true},
		{"registry.example", "evil.example", false, false},
		{"registry.example", "evil.example", true, true},
		{"registry.foo.co.uk", "auth.foo.co.uk", false, true},
		{"foo.co.uk", "evil.co.uk", false, false},
		{"registry.example:5000", "registry.example:5001", false, true},
		{"10.0.0.1:5000", "10.0.0.2:5000", false, false},
		{"registry.example", "registry.example.evil", false, false},
	}
	for _, tt := range tests {
		var shown string
		g := &credentialGuard{home: tt.home, inner: roundTripper(func(r *http.Request) (*http.Response, error) {
			shown = r.Header.Get("Authorization")
			return &http.Response{Body: http.NoBody}, nil
		})}
		if tt.trusted {
			g.trusted = map[string]bool{tt.host: true}
		}
		req := httptest.NewRequest("GET", "https://"+tt.host+"/token", nil)
		req.SetBasicAuth("user", "secret")
		if _, err := g.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		if (shown != "") != tt.shown {
			t.Errorf("%s sends to %s: shown %q", tt.home, tt.host, shown)
		}
		post := httptest.NewRequest("POST", "https://"+tt.host+"/token", strings.NewReader("refresh_token=x"))
		if _, err := g.RoundTrip(post); (err == nil) != tt.shown {
			t.Errorf("%s posts to %s: %v", tt.home, tt.host, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestUploadLocationOnAnotherHostGetsNoCredentials(t *testing.T) {
	data, desc := blobOf(100)
	store, shown := witness(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201) })
	h := basicHub(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(404)
			return
		}
		w.Header().Set("Location", strings.Replace(store.URL, "http://", "http://u:p@", 1)+"/u?x=1")
		w.WriteHeader(202)
	})
	r := quick()
	r.Keychain = wallet{}
	if err := repo(t, r, h.host+"/a").PushBlob(t.Context(), desc, "", opener(data)); err != nil {
		t.Fatal(err)
	}
	if len(*shown) != 1 || (*shown)[0] != "" {
		t.Errorf("the other host was shown %q", *shown)
	}
}
