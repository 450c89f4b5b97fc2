package builder

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// baseRegistry serves one image, with an annotation, and remembers what was read.
type baseRegistry struct {
	ref    string
	layers []v1.Layer
	mu     sync.Mutex
	read   []string
}

func newBaseRegistry(t *testing.T) *baseRegistry {
	t.Helper()
	r := &baseRegistry{}
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.read = append(r.read, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
		h.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	img, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	if r.layers, err = img.Layers(); err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	img = mutate.Annotations(img, map[string]string{"of": "base"}).(v1.Image)
	r.ref = s.Listener.Addr().String() + "/base:1"
	ref, err := name.ParseReference(r.ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = nil
	return r
}

// seen returns what was read so far.
func (r *baseRegistry) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.read)
}

func TestCheckReadsOfABaseImageOnlyTheConfig(t *testing.T) {
	r := newBaseRegistry(t)
	p := newProject(t, map[string]string{"Dockerfile": "FROM " + r.ref + " as one\nRUN false\nMAINTAINER me\n"})
	o := p.options()
	res, err := Check(context.Background(), o)
	if err != nil || len(res.Warnings) != 2 || res.Error != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	out, err := Outline(context.Background(), o)
	if err != nil || out.Name != "one" {
		t.Fatalf("%+v, %v", out, err)
	}
	got := strings.Join(r.seen(), "\n")
	if !strings.Contains(got, "/manifests/") {
		t.Errorf("the base image was not looked at: %s", got)
	}
	for _, l := range r.layers {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(got, d.String()) {
			t.Errorf("a layer was read: %s", got)
		}
	}
	if did := p.did(); len(did) > 0 {
		t.Errorf("it did %v", did)
	}
	asked := len(r.seen())
	if _, err := Targets(context.Background(), o); err != nil || len(r.seen()) != asked {
		t.Errorf("the stages alone: %v, asked for %v", err, r.seen()[asked:])
	}
}

func TestCheckWhereverTheContextIs(t *testing.T) {
	const dockerfile = "FROM scratch\nMAINTAINER me\nCOPY no /\n"
	files := map[string]string{"Dockerfile": dockerfile, ".dockerignore": "no\n"}
	p := newProject(t, files)
	site := newWebSite(t, map[string]string{"/c.tar": tarOf(t, files)})
	url, _ := gitOrigin(t, files)
	for name, tc := range map[string]struct {
		change func(*Options)
		want   int
	}{
		"directory":         {func(*Options) {}, 2},
		"Dockerfile apart":  {func(o *Options) { o.DockerfileData = []byte(dockerfile) }, 2},
		"Dockerfile alone":  {func(o *Options) { o.Context, o.ContextData = "", strings.NewReader(dockerfile) }, 1},
		"archive":           {func(o *Options) { o.Context, o.ContextData = "", strings.NewReader(tarOf(t, files)) }, 1},
		"archive elsewhere": {func(o *Options) { o.Context = site.URL + "/c.tar" }, 1},
		"repository":        {func(o *Options) { o.Context = url }, 1}, // whose ignore file does not count
	} {
		t.Run(name, func(t *testing.T) {
			o := p.options()
			tc.change(&o)
			res, err := Check(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Warnings) != tc.want || res.Error != nil {
				t.Errorf("%+v, %+v", res.Warnings, res.Error)
			}
		})
	}
	if _, err := Check(context.Background(), Options{}); err == nil {
		t.Error("no error without a context")
	}
}

func TestAnnotationsOfTheBaseAreNotTheImages(t *testing.T) {
	r := newBaseRegistry(t)
	p := newProject(t, map[string]string{"Dockerfile": "FROM " + r.ref + "\nLABEL a=b\n"})
	var m ocispec.Manifest
	if err := json.Unmarshal(p.build(nil).Manifest, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Annotations) > 0 {
		t.Errorf("annotations %v", m.Annotations)
	}
}
