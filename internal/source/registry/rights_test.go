package registry

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestE8OnlyARefusalIsFinal(t *testing.T) {
	for status, refused := range map[int]bool{401: true, 403: true, 404: false, 405: false, 400: false} {
		h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				w.WriteHeader(status)
				return true
			}
			return false
		})
		err := repo(t, quick(), h.host+"/a").CheckPush(t.Context())
		if refused != errors.Is(err, ErrUnauthorized) || !refused && err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestE8TheUploadIsGivenUp(t *testing.T) {
	h := newHub(t, nil)
	if err := repo(t, quick(), h.host+"/a").CheckPush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.count("POST /v2/a/blobs/uploads/") != 1 || h.count("DELETE /v2/a/blobs/uploads/") != 1 {
		t.Errorf("requests %q", h.log)
	}
}

func TestE8WhoseCredentialsAreRefusedIsSaid(t *testing.T) {
	h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	r := quick()
	r.Keychain = keys{"bob", "S3CR3T"}
	err := repo(t, r, h.host+"/a").CheckPush(t.Context())
	wantError(t, err, "push to "+h.host+"/a", "refuses access", `"bob"`, "~/.docker/config.json")
	if strings.Contains(err.Error(), "S3CR3T") {
		t.Errorf("got %v", err)
	}
}

// keys are one user's for every registry.
type keys struct{ user, password string }

func (k keys) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: k.user, Password: k.password}, nil
}
