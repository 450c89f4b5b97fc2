package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func neverOpened(t *testing.T) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) {
		t.Error("bytes are sent that the registry has")
		return nil, errors.New("opened")
	}
}

func TestPushSendsOnlyWhatIsMissing(t *testing.T) {
	h := newHub(t, nil)
	data, desc := blobOf(50_000)
	p := repo(t, quick(), h.host+"/a")
	if err := p.PushBlob(t.Context(), desc, "", opener(data)); err != nil {
		t.Fatal(err)
	}
	h.reset()
	if err := p.PushBlob(t.Context(), desc, "", neverOpened(t)); err != nil {
		t.Fatal(err)
	}
	if n := h.count("POST") + h.count("PUT"); n != 0 {
		t.Errorf("%d uploads of what is there", n)
	}
}

// mountHook answers requests to mount in ways that depend on where from.
func mountHook(asked *string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		from := r.URL.Query().Get("from")
		if r.Method != http.MethodPost || from == "" {
			return false
		}
		*asked = from
		status := map[string]int{"forbidden": 403, "broken": 500, "base/image": 201}[from]
		if status == 0 {
			return false // 202: an upload begins
		}
		w.WriteHeader(status)
		return true
	}
}

func TestPushMountsFromTheOrigin(t *testing.T) {
	mounted := ""
	h := newHub(t, mountHook(&mounted))
	data, desc := blobOf(1000)
	tests := []struct {
		to, origin string
		asked      string
		sent       bool
	}{
		{"t1", h.host + "/base/image", "base/image", false},
		{"t2", h.host + "/unknown", "unknown", true},
		{"t3", h.host + "/forbidden", "forbidden", true},
		{"t6", h.host + "/broken", "broken", true},
		{"t4", "registry.example/base/image", "", true},
		{"t5", h.host + "/t5", "", true},
	}
	for _, tt := range tests {
		mounted = ""
		sent := false
		open := func(ctx context.Context) (io.ReadCloser, error) {
			sent = true
			return io.NopCloser(bytes.NewReader(data)), nil
		}
		// A private in-memory registry keeps blobs for all repositories, so
		// each case has to look as if it had none.
		h.hook = withoutHead(h.hook)
		if err := repo(t, quick(), h.host+"/"+tt.to).PushBlob(t.Context(), desc, tt.origin, open); err != nil {
			t.Fatalf("%s: %v", tt.to, err)
		}
		if mounted != tt.asked || sent != tt.sent {
			t.Errorf("%s: mount from %q, sent %v", tt.to, mounted, sent)
		}
	}
}

func withoutHead(hook func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(404)
			return true
		}
		return hook(w, r)
	}
}

// A token server may refuse a token altogether when it is asked for a
// repository that this user must not see.
func TestRefusedMountTokenDoesNotFailThePush(t *testing.T) {
	var h *hub
	h = newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			for _, s := range r.URL.Query()["scope"] {
				if strings.Contains(s, "private") {
					w.WriteHeader(403)
					return true
				}
			}
			w.Write([]byte(`{"token":"t"}`))
			return true
		}
		if r.Header.Get("Authorization") != "Bearer t" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+h.URL+`/token",service="x"`)
			w.WriteHeader(401)
			return true
		}
		return false
	})
	data, desc := blobOf(1000)
	r := quick()
	r.Keychain = authn.NewMultiKeychain()
	if err := repo(t, r, h.host+"/a").PushBlob(t.Context(), desc, h.host+"/private", opener(data)); err != nil {
		t.Fatal(err)
	}
}

func TestTokenThatExpiresDuringAPush(t *testing.T) {
	var h *hub
	issued, valid := 0, ""
	h = newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			issued++
			valid = fmt.Sprint("t", issued)
			fmt.Fprintf(w, `{"token":%q,"expires_in":1}`, valid)
			return true
		}
		if r.Method == http.MethodPut && issued == 1 {
			io.Copy(io.Discard, r.Body)
			valid = ""
		}
		if valid == "" || r.Header.Get("Authorization") != "Bearer "+valid {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+h.URL+`/token",service="x",scope="repository:a:push,pull"`)
			w.WriteHeader(401)
			return true
		}
		return false
	})
	data, desc := blobOf(1_000_000)
	if err := repo(t, quick(), h.host+"/a").PushBlob(t.Context(), desc, "", opener(data)); err != nil {
		t.Fatal(err)
	}
	if issued != 2 {
		t.Errorf("%d tokens asked for", issued)
	}
}

func TestPushSurvivesFaults(t *testing.T) {
	abort := func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
	status := func(s int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(s) }
	}
	halfway := func(w http.ResponseWriter, r *http.Request) {
		io.CopyN(io.Discard, r.Body, 100_000)
		panic(http.ErrAbortHandler)
	}
	tests := []struct {
		name   string
		method string
		fault  http.HandlerFunc
	}{
		{"cut in the upload", http.MethodPut, halfway},
		{"upload answered by 503", http.MethodPut, status(503)},
		{"upload is lost", http.MethodPut, status(404)},
		{"start is cut", http.MethodPost, abort},
		{"start answered by 429", http.MethodPost, status(429)},
		{"question answered by 502", http.MethodHead, status(502)},
	}
	data, desc := blobOf(1_000_000)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			left := 2
			h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
				if ignorePing(r) || r.Method != tt.method || left == 0 {
					return false
				}
				left--
				tt.fault(w, r)
				return true
			})
			p := repo(t, quick(), h.host+"/a")
			if err := p.PushBlob(t.Context(), desc, "", opener(data)); err != nil {
				t.Fatal(err)
			}
			r, err := p.Fetch(t.Context(), desc, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestPushOfWrongBytesFails(t *testing.T) {
	h := newHub(t, nil)
	data, desc := blobOf(1000)
	data[3] ^= 1
	err := repo(t, quick(), h.host+"/a").PushBlob(t.Context(), desc, "", opener(data))
	wantError(t, err, desc.Digest.String())
}

func TestPutManifest(t *testing.T) {
	h := newHub(t, nil)
	p := repo(t, quick(), h.host+"/a")
	config := []byte("{}")
	_, desc := blobOf(1)
	desc.Digest, desc.Size = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", 2
	if err := p.PushBlob(t.Context(), desc, "", opener(config)); err != nil {
		t.Fatal(err)
	}
	manifest := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{"mediaType":"` +
		ocispec.MediaTypeImageConfig + `","digest":"` + desc.Digest.String() + `","size":2},"layers":[]}`)
	if err := p.PutManifest(t.Context(), "v1", ocispec.MediaTypeImageManifest, manifest); err != nil {
		t.Fatal(err)
	}
	head, err := p.Head(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	got, desc, err := p.Manifest(t.Context(), "v1")
	if err != nil || !bytes.Equal(got, manifest) || head.Digest != desc.Digest || desc.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("%q as %v (head %v), %v", got, desc, head, err)
	}
}
