package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/registry"
	"github.com/ocibuild/ocibuild/internal/source/wait"
	"github.com/ocibuild/ocibuild/layer"
)

// Client fetches single files over HTTP. What it fetched lies in the store as a
// blob, with a record that lets the server say that nothing has changed.
// Its fields must not change once it is in use; it is safe for concurrent use.
type Client struct {
	Store *cache.Dir
	// Secret finds the secrets HTTP_AUTH_HEADER_<host> and
	// HTTP_AUTH_TOKEN_<host>, and those that a definition names; nil has none.
	Secret  func(id string) (value []byte, ok bool, err error)
	Counter *registry.Counter // counts the bytes; may be nil
	// MaxSize is the most bytes that a file may have; 0 means 64 GiB.
	MaxSize int64

	// Retry says how often a file is asked for.
	Retry wait.Policy

	once   sync.Once
	client *http.Client
	stall  time.Duration // a download silent for so long counts as cut
}

const (
	defaultMaxSize = 64 << 30
	answerLimit    = 60 * time.Second
	maxSilence     = 30 * time.Second
	maxRedirects   = 10
)

// File is one file of the web, fetched when somebody asks, and once.
type File struct {
	web *Client
	op  *graph.HTTP
	mu  sync.Mutex
	got *fetched
}

// fetched is the record of a file that is in the store.
type fetched struct {
	Digest       digest.Digest `json:"digest"` // of the blob
	Size         int64         `json:"size"`
	ETag         string        `json:"etag,omitempty"`
	LastModified string        `json:"lastModified,omitempty"`
	// Validates tells that LastModified is old enough, as seen by the server,
	// to tell a later change from this one.
	Validates bool   `json:"validates,omitempty"`
	Name      string `json:"name,omitempty"` // what the answer calls the file
}

// File returns the file that op describes. Nothing is fetched yet.
func (w *Client) File(op *graph.HTTP) *File { return &File{web: w, op: op} }

// Pin names what Tree yields by its content, name, mode and owner, but not by
// its time. With a checksum it asks nobody.
func (f *File) Pin(ctx context.Context) (string, error) {
	content, name := f.op.Checksum, safeName(f.op.Filename, f.op.URL)
	if content == "" || f.op.Filename == "" {
		got, err := f.fetch(ctx)
		if err != nil {
			return "", err
		}
		name = f.name(got)
		if content == "" {
			content = got.Digest
		}
	}
	data, err := json.Marshal([]any{content, name, f.mode(), f.op.UID, f.op.GID})
	return string(data), err
}

// Tree fetches the file, unless it is in the store and the server says that it
// is the same, and shows it as the only one in the root of a tree.
func (f *File) Tree(ctx context.Context) (layer.Tree, error) {
	got, err := f.fetch(ctx)
	if err != nil {
		return nil, err
	}
	e := layer.Entry{
		Name: f.name(got), Type: layer.Regular, Size: got.Size, Mode: f.mode(), UID: f.op.UID, GID: f.op.GID, Digest: got.Digest,
	}
	if t, err := http.ParseTime(got.LastModified); err == nil {
		e.ModTime = t.Unix()
	}
	return &fileTree{entry: e, open: func() (io.ReadCloser, error) { return f.web.Store.OpenBlob(got.Digest) }}, nil
}

// Ready tells whether the file is in the store.
func (f *File) Ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got != nil
}

func (f *File) name(got *fetched) string {
	if f.op.Filename == "" && got.Name != "" {
		return got.Name
	}
	return safeName(f.op.Filename, f.op.URL)
}

func (f *File) mode() uint32 {
	if f.op.Perm == 0 {
		return 0o600
	}
	return uint32(f.op.Perm) & 0o7777
}

// fetch brings the file into the store, once.
func (f *File) fetch(ctx context.Context) (*fetched, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.got != nil {
		return f.got, nil
	}
	got, err := f.web.fetch(ctx, f.op)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", graph.Redact(f.op.URL), err)
	}
	f.got = got
	return got, nil
}

func (w *Client) fetch(ctx context.Context, op *graph.HTTP) (*fetched, error) {
	w.once.Do(w.prepare)
	id := recordName(op)
	unlock, err := w.Store.Lock(ctx, "http "+id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	have := w.recorded(id)
	if op.Checksum != "" && have != nil && w.check(have, op.Checksum) == nil {
		return have, nil
	}
	got, err := w.get(ctx, op, have)
	if err != nil {
		return nil, err
	}
	if got != have {
		data, err := json.Marshal(got)
		if err != nil {
			return nil, err
		}
		if err := w.Store.WriteSource(cache.SourceHTTP, id, data); err != nil {
			return nil, err
		}
	}
	if op.Checksum == "" {
		return got, nil
	}
	return got, w.check(got, op.Checksum)
}

func (w *Client) prepare() {
	if w.stall == 0 {
		w.stall = maxSilence
	}
	if w.MaxSize == 0 {
		w.MaxSize = defaultMaxSize
	}
	w.client = &http.Client{Transport: registry.NewTransport(w.Counter), CheckRedirect: redirect}
}

// Close gives back idle connections.
func (w *Client) Close() {
	w.once.Do(w.prepare)
	w.client.CloseIdleConnections()
}

// redirect lets credentials go back to where they belong only.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	same, err := registry.CheckRedirect(via[len(via)-1].URL, req.URL)
	if err != nil {
		return err
	}
	if home, _ := registry.CheckRedirect(via[0].URL, req.URL); !same || !home {
		req.Header.Del("Authorization")
		req.Header.Del("Referer")
	}
	return nil
}

// recordName names the record of a URL. Credentials are not part of it: they
// decide who may see the file, not what is in it.
func recordName(op *graph.HTTP) string {
	u, _ := graph.WithoutUser(op.URL)
	data, _ := json.Marshal([]any{u, op.AuthSecret, op.Headers}) // strings only
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// recorded returns the record if its blob is what it says. A damaged record or
// blob is none.
func (w *Client) recorded(id string) *fetched {
	data, err := w.Store.ReadSource(cache.SourceHTTP, id)
	if err != nil || data == nil {
		return nil
	}
	var f fetched
	if json.Unmarshal(data, &f) != nil || w.check(&f, f.Digest) != nil {
		return nil
	}
	return &f
}

// check reads the blob again and compares it with a digest.
func (w *Client) check(f *fetched, want digest.Digest) error {
	if err := want.Validate(); err != nil {
		return fmt.Errorf("checksum %q: %w", want, err)
	}
	got := f.Digest
	if want.Algorithm() != digest.SHA256 || want == f.Digest {
		r, err := w.Store.OpenBlob(f.Digest)
		if err != nil {
			return err
		}
		defer r.Close()
		if got, err = want.Algorithm().FromReader(r); err != nil {
			return err
		}
	}
	if got != want {
		return fmt.Errorf("digest mismatch: the file has %s, expected is %s", got, want)
	}
	return nil
}

// safeName is the name of the file: the one asked for, or the last element of
// the URL's path, and in any case one that is only a name.
func safeName(asked, rawURL string) string {
	if asked == "" {
		if u, err := url.Parse(rawURL); err == nil {
			asked = path.Base(u.Path)
		}
	}
	name := path.Base(strings.TrimSpace(asked))
	if name == "." || name == ".." || name == "/" || strings.ContainsFunc(name, unicode.IsControl) {
		return "download"
	}
	return name
}

// disposition is the name that an answer gives to its file, or "".
func disposition(h http.Header) string {
	_, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil || params["filename"] == "" || strings.HasSuffix(params["filename"], "/") {
		return ""
	}
	return safeName(params["filename"], "")
}

// Modified tells what the server says of when the file was changed last; the
// zero time if it says nothing. It fetches the file.
func (f *File) Modified(ctx context.Context) (time.Time, error) {
	got, err := f.fetch(ctx)
	if err != nil {
		return time.Time{}, err
	}
	t, err := http.ParseTime(got.LastModified)
	if err != nil {
		return time.Time{}, nil // no time, or none that anybody understands
	}
	return t, nil
}
