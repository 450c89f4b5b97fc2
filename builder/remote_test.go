package builder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// webSite serves files by path; each has a tag of its content.
type webSite struct {
	*httptest.Server
	files  map[string]string
	bodies atomic.Int64
}

func newWebSite(t *testing.T, files map[string]string) *webSite {
	t.Helper()
	w := &webSite{files: files}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() {
		w.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return w
}

func (w *webSite) serve(rw http.ResponseWriter, r *http.Request) {
	data, ok := w.files[r.URL.Path]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	tag := `"` + digest.FromString(data).Encoded() + `"`
	rw.Header().Set("ETag", tag)
	rw.Header().Set("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
	if r.Header.Get("If-None-Match") == tag {
		rw.WriteHeader(http.StatusNotModified)
		return
	}
	w.bodies.Add(1)
	fmt.Fprint(rw, data)
}

// tarOf makes a gzipped tar of files; a name with "@" in its content is a link.
func tarOf(t *testing.T, files map[string]string) string {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		h := &tar.Header{Name: n, Mode: 0o640, Uid: 7, Gid: 8, Size: int64(len(files[n])), Typeflag: tar.TypeReg}
		if to, ok := strings.CutPrefix(files[n], "@"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := tw.Write([]byte(files[n])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if tw.Close() != nil || zw.Close() != nil {
		t.Fatal("tar")
	}
	return buf.String()
}

func entry(t *testing.T, img *Image, name string) layer.Entry {
	t.Helper()
	e, err := layer.NewView(img.Layers).Lookup(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAddFromTheWeb(t *testing.T) {
	w := newWebSite(t, map[string]string{"/d/f": "content", "/other": "other"})
	p := newProject(t, map[string]string{"Dockerfile": fmt.Sprintf("FROM scratch\nADD %[1]s/d/f?q=1 /in/\nADD --chmod=0755 --chown=3:4 %[1]s/other /named\n", w.URL)})
	img := p.build(nil)
	if got := files(t, img); got["in/f"] != "content" || got["named"] != "other" {
		t.Errorf("files %v", got)
	}
	if e := entry(t, img, "in/f"); e.Mode != 0o600 || e.ModTime != 1700000000 || e.UID != 0 {
		t.Errorf("in/f %+v", e)
	}
	if e := entry(t, img, "named"); e.Mode != 0o755 || e.UID != 3 || e.GID != 4 {
		t.Errorf("named %+v", e)
	}
	// The same again asks whether the files have changed, and does nothing.
	bodies := w.bodies.Load()
	again := p.build(nil)
	if did := p.did(); len(did) != 0 || w.bodies.Load() != bodies || again.Descriptor.Digest != img.Descriptor.Digest {
		t.Errorf("the second build did %v and fetched %d files", did, w.bodies.Load()-bodies)
	}
	// Another content of one file does its step anew, and the one that follows by its inputs only.
	w.files["/other"] = "changed"
	if got := files(t, p.build(nil)); got["named"] != "changed" {
		t.Errorf("files %v", got)
	}
	if did := p.did(); len(did) != 2 || !strings.HasPrefix(did[1], "ADD --chmod") { // and the fetch
		t.Errorf("after a change it did %v", did)
	}
}

func TestAddFromTheWebUnpacksOnlyWhenAsked(t *testing.T) {
	w := newWebSite(t, map[string]string{"/a.tgz": tarOf(t, map[string]string{"x/y": "deep", "link": "@x/y"})})
	p := newProject(t, map[string]string{"Dockerfile": fmt.Sprintf("FROM scratch\nADD %[1]s/a.tgz /packed/\nADD --unpack=true %[1]s/a.tgz /out/\n", w.URL)})
	img := p.build(nil)
	got := files(t, img)
	if got["out/x/y"] != "deep" || got["packed/a.tgz"] != w.files["/a.tgz"] {
		t.Errorf("files %v", got)
	}
	if e := entry(t, img, "out/x/y"); e.UID != 7 || e.GID != 8 || e.Mode != 0o640 {
		t.Errorf("entry %+v", e)
	}
	if n := w.bodies.Load(); n != 1 {
		t.Errorf("the file was fetched %d times", n)
	}
}

func TestAddWithAChecksumNeedsNoNetworkTheSecondTime(t *testing.T) {
	w := newWebSite(t, map[string]string{"/f": "content"})
	sum := digest.FromString("content").String()
	p := newProject(t, map[string]string{"Dockerfile": fmt.Sprintf("FROM scratch\nADD --checksum=%s %s/f /f\n", sum, w.URL)})
	first := p.build(nil)
	w.Close()
	if second := p.build(nil); second.Descriptor.Digest != first.Descriptor.Digest || len(p.did()) != 0 {
		t.Errorf("it did %v", p.did())
	}
}

func TestAddFromTheWebFails(t *testing.T) {
	w := newWebSite(t, map[string]string{"/f": "content"})
	for name, tc := range map[string]struct{ line, says string }{
		"not found": {"ADD " + w.URL + "/nothing /", "404 Not Found"},
		"checksum":  {"ADD --checksum=" + digest.FromString("x").String() + " " + w.URL + "/f /", "digest mismatch"},
		"dots":      {"ADD " + w.URL + "/%2e%2e%2f /", "404"},
		"nobody":    {"ADD http://u:S3CR3T@127.0.0.1:1/f /", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\n" + tc.line + "\n"})
			_, err := p.try(func(o *Options) { o.Registries = &Registries{Retries: -1} })
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.HasPrefix(err.Error(), "Dockerfile:2: ") ||
				strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "S3CR3T") {
				t.Errorf("error %v, want one of line 2 with %q", err, tc.says)
			}
		})
	}
}

// Credentials of a URL and secrets are in no image, record, event or name of a file.
func TestAddFromTheWebKeepsCredentials(t *testing.T) {
	w := newWebSite(t, map[string]string{"/f": "content"})
	auth := strings.Replace(w.URL, "//", "//u:S3CR3T@", 1)
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nADD " + auth + "/f /f\n"})
	img := p.build(func(o *Options) {
		o.Secrets = []Secret{{ID: "HTTP_AUTH_TOKEN_127.0.0.1", Value: func() ([]byte, error) { return []byte("S3CR3T"), nil }}}
	})
	for name, data := range map[string][]byte{"config": img.Config, "manifest": img.Manifest, "events": fmt.Append(nil, p.events)} {
		if bytes.Contains(data, []byte("S3CR3T")) {
			t.Errorf("the %s has the password: %s", name, data)
		}
	}
	out, err := exec.Command("grep", "-r", "S3CR3T", p.store).CombinedOutput()
	if len(out) > 0 {
		t.Errorf("the store has the password: %s (%v)", out, err)
	}
	if left, err := os.ReadDir(p.store + "/tmp"); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
