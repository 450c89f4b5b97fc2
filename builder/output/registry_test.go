package output

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/layer"
)

// startRegistry runs the registry that most of the world runs.
func startRegistry(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("SKIPPED: docker-registry is not installed, so nothing is pushed to a real registry")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	config := t.TempDir() + "/config.yml"
	err = os.WriteFile(config, []byte("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: "+
		t.TempDir()+"}}\nhttp: {addr: "+host+"}\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return host
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the registry does not answer")
	return ""
}

func pushAll(t *testing.T, images *source.Images, img *Result, names ...string) (sent int64) {
	t.Helper()
	before := images.Registries.Counter.Sent()
	o, err := NewRegistry(images.Registries, names...)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, l := range img.Images[0].Layers {
		if err := o.Layer(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Write(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	return images.Registries.Counter.Sent() - before
}

func TestPushToARealRegistry(t *testing.T) {
	host := startRegistry(t)
	images := newImages(t)
	big, small := noise(2_000_000, 1), noise(1000, 2)
	img := newImage(t, images.Store, "", big, small)

	if sent := pushAll(t, images, img, host+"/a:v1", host+"/a:latest"); sent < 2_000_000 || sent > 2_050_000 {
		t.Errorf("first push: %d bytes sent", sent)
	}
	if sent := pushAll(t, images, img, host+"/a:v1"); sent > 10_000 {
		t.Errorf("second push: %d bytes sent", sent)
	}
	skopeo(t, "inspect", "--tls-verify=false", "docker://"+host+"/a:latest")

	// A fresh store knows the image from the registry only.
	fresh := newImages(t)
	base, err := fresh.Resolve(t.Context(), host+"/a:v1", ocispec.Platform{OS: "linux", Architecture: "amd64"}, source.Pull)
	if err != nil {
		t.Fatal(err)
	}
	if base.Digest != img.Descriptor.Digest {
		t.Errorf("digest %s, pushed %s", base.Digest, img.Descriptor.Digest)
	}
	before := fresh.Registries.Counter.Received()
	derived := imageOf(t, "", base.Layers...)
	if sent := pushAll(t, fresh, derived, host+"/group/b:v1"); sent > 15_000 {
		t.Errorf("push to another repository: %d bytes sent", sent)
	}
	if got := fresh.Registries.Counter.Received() - before; got > 15_000 {
		t.Errorf("push to another repository: %d bytes received", got)
	}
	if _, ok := fresh.Store.Dir.HasBlob(digest.FromBytes(big)); ok {
		t.Error("a layer that was mounted is downloaded")
	}
	if _, err := newImages(t).Pull(t.Context(), host+"/group/b:v1", ocispec.Platform{}, nil); err != nil {
		t.Errorf("pull of what was mounted: %v", err)
	}

	// Elsewhere, mounting is not possible: the bytes have to go through us.
	other := startRegistry(t)
	if sent := pushAll(t, fresh, derived, other+"/c:v1"); sent < 2_000_000 {
		t.Errorf("push to another registry: %d bytes sent", sent)
	}
}

func TestPullFromARealRegistryOverABadLine(t *testing.T) {
	host := startRegistry(t)
	images := newImages(t)
	img := newImage(t, images.Store, "", noise(3_000_000, 1), noise(700_000, 2))
	pushAll(t, images, img, host+"/a:v1")

	target, _ := url.Parse("http://" + host)
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorLog = nil
	var cuts atomic.Int64
	line := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			forward.ServeHTTP(w, r)
			return
		}
		forward.ServeHTTP(&cutWriter{ResponseWriter: w, left: 400_001, cuts: &cuts}, r)
	}))
	line.Config.ErrorLog = nil
	defer line.Close()
	fresh := newImages(t)
	name := strings.TrimPrefix(line.URL, "http://") + "/a:v1"
	if _, err := fresh.Pull(t.Context(), name, ocispec.Platform{OS: "linux", Architecture: "amd64"}, nil); err != nil {
		t.Fatal(err)
	}
	if cuts.Load() < 8 {
		t.Errorf("only %d cuts", cuts.Load())
	}
	if got := fresh.Registries.Counter.Received(); got > 4_500_000 {
		t.Errorf("%d bytes received for 3.7 million", got)
	}
}

// cutWriter drops the connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
	cuts *atomic.Int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		n, _ := c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		c.left -= n
		c.cuts.Add(1)
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// slowFaces is a layer whose compression ends when the test says so.
type slowFaces struct {
	layer.Faces
	ready chan struct{}
}

func (f slowFaces) Descriptor(ctx context.Context) (ocispec.Descriptor, error) {
	select {
	case <-f.ready:
		return f.Faces.Descriptor(ctx)
	case <-ctx.Done():
		return ocispec.Descriptor{}, ctx.Err()
	}
}

func TestLayersArePushedBeforeTheImage(t *testing.T) {
	uploaded := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodHead:
			w.WriteHeader(404)
		case http.MethodPost:
			w.Header().Set("Location", "/u")
			w.WriteHeader(202)
		case http.MethodPut:
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(201)
			uploaded <- r.URL.Query().Get("digest")
		}
	}))
	defer s.Close()
	images := newImages(t)
	quick := newImage(t, images.Store, "", noise(10, 1)).Images[0].Layers[0]
	slow := newImage(t, images.Store, "", noise(10, 2)).Images[0].Layers[0]
	slow = layer.New(slow.DiffID, slowFaces{slow.Faces(), make(chan struct{})})
	o, err := NewRegistry(images.Registries, strings.TrimPrefix(s.URL, "http://")+"/a:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*layer.Layer{slow, quick, quick} { // the slow one is no obstacle
		if err := o.Layer(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case d := <-uploaded:
		if d != digest.FromBytes(noise(10, 1)).String() {
			t.Errorf("uploaded %s", d)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is uploaded before the image is there")
	}
	if err := o.Close(); err != nil { // must not wait for the slow layer
		t.Error(err)
	}
	if len(uploaded) != 0 {
		t.Errorf("uploaded again: %s", <-uploaded)
	}
}

func TestPushNeverTagsAnIncompleteImage(t *testing.T) {
	tagged := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
		case strings.Contains(r.URL.Path, "/manifests/"):
			tagged = true
		case r.Method == http.MethodHead:
			w.WriteHeader(404)
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"read only"}]}`)
		}
	}))
	defer s.Close()
	images := newImages(t)
	o, err := NewRegistry(images.Registries, strings.TrimPrefix(s.URL, "http://")+"/a:1")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	err = o.Write(t.Context(), newImage(t, images.Store, "", noise(10, 1)))
	if err == nil || !strings.Contains(err.Error(), "refuses access: read only") || tagged {
		t.Errorf("error %v, tagged %v", err, tagged)
	}
}

func TestNamesToPushTo(t *testing.T) {
	images := newImages(t)
	d := digest.FromBytes(bytes.Repeat([]byte("x"), 10)).String()
	for _, names := range [][]string{{}, {"UPPER"}, {"a@" + d}, {"a:1@" + d}, {"a", ""}} {
		if _, err := NewRegistry(images.Registries, names...); err == nil {
			t.Errorf("%q is accepted", names)
		}
	}
	o, err := NewRegistry(images.Registries, "a", "docker.io/library/a:2", "example.com/b")
	if err != nil || len(o.targets) != 2 || len(o.targets[0].tags) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}
