package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Result is what a build led to, without what differs from run to run.
type Result struct {
	Error   string         `json:"error,omitempty"` // its last line; the rest is empty then
	Line    int            `json:"line,omitempty"`  // of the Dockerfile, that the error speaks of
	Config  map[string]any `json:"config,omitempty"`
	History []History      `json:"history,omitempty"`
	Layers  int            `json:"layers"`
	Files   []File         `json:"files,omitempty"`
}

// History is an entry of the image's history.
type History struct {
	CreatedBy string `json:"by"`
	Comment   string `json:"comment,omitempty"`
	Author    string `json:"author,omitempty"`
	Created   string `json:"created,omitempty"`
	Empty     bool   `json:"empty,omitempty"`
}

// File is one file of the image.
type File struct {
	Path   string            `json:"path"`
	Type   string            `json:"type"`
	Mode   string            `json:"mode,omitempty"`
	Owner  string            `json:"owner"`
	Size   int64             `json:"size,omitempty"`
	Digest string            `json:"digest,omitempty"`
	Text   string            `json:"text,omitempty"` // of small files: for the eyes only
	Link   string            `json:"link,omitempty"` // of a symbolic link, or the first name of the same file
	Device string            `json:"device,omitempty"`
	Xattrs map[string]string `json:"xattrs,omitempty"`
	Time   string            `json:"time,omitempty"`
}

// newest is the time before which a time was chosen by a case; what is later
// is a clock's.
var newest = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// pinned is a time that a case has chosen, or nothing.
func pinned(t time.Time) string {
	if t.IsZero() || t.After(newest) {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// ReadResult describes the image in an OCI layout.
func ReadResult(dir string) (*Result, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	img, err := only(index)
	if err != nil {
		return nil, fmt.Errorf("image in %s: %w", dir, err)
	}
	r := &Result{}
	if err := r.config(img); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	r.Layers = len(layers)
	r.Files, err = flatten(layers)
	return r, err
}

func only(index v1.ImageIndex) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(m.Manifests) != 1 {
		return nil, fmt.Errorf("%d manifests where one was expected", len(m.Manifests))
	}
	d := m.Manifests[0]
	if !d.MediaType.IsIndex() {
		return index.Image(d.Digest)
	}
	inner, err := index.ImageIndex(d.Digest)
	if err != nil {
		return nil, err
	}
	return only(inner)
}

func (r *Result) config(img v1.Image) error {
	data, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	var c struct {
		RootFS  v1.RootFS
		History []struct {
			Created   time.Time `json:"created"`
			CreatedBy string    `json:"created_by"`
			Comment   string    `json:"comment"`
			Author    string    `json:"author"`
			Empty     bool      `json:"empty_layer"`
		}
		Created time.Time
	}
	if err := errors.Join(json.Unmarshal(data, &c), json.Unmarshal(data, &r.Config)); err != nil {
		return err
	}
	for _, h := range c.History {
		r.History = append(r.History, History{h.CreatedBy, h.Comment, h.Author, pinned(h.Created), h.Empty})
	}
	delete(r.Config, "rootfs")
	delete(r.Config, "history")
	delete(r.Config, "created")
	if at := pinned(c.Created); at != "" {
		r.Config["created"] = at
	}
	return nil
}

// Reference reads the result that BuildKit gave.
func (c *Case) Reference() (*Result, error) {
	data, err := os.ReadFile(c.path + ".json")
	if err != nil {
		return nil, fmt.Errorf("%s: %w (make conformance-reference makes it)", c.Name, err)
	}
	r := &Result{}
	return r, json.Unmarshal(data, r)
}

// SetReference keeps the result that BuildKit gave.
func (c *Case) SetReference(r *Result) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return err
	}
	data := breakLines(b.Bytes())
	return os.WriteFile(c.path+".json", data, 0o644)
}

// breakLines puts every file and history entry on a line of its own.
func breakLines(data []byte) []byte {
	for _, at := range []string{`{"path":`, `{"by":`, `"history":[`, `"files":[`, `"layers":`} {
		data = bytes.ReplaceAll(data, []byte(at), []byte("\n"+at))
	}
	return data
}
