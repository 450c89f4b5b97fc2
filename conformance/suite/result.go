package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Result is what a build led to, without what differs from run to run.
type Result struct {
	Error  string    `json:"error,omitempty"`  // its last line; the rest is empty then
	Line   int       `json:"line,omitempty"`   // of the Dockerfile, that the error speaks of
	Images []*Result `json:"images,omitempty"` // of an index, which has its annotations and nothing else
	// Platform is that of the image in an index.
	Platform string `json:"platform,omitempty"`
	// Annotations are those of the manifest or the index, and of its descriptor.
	Annotations map[string]map[string]string `json:"annotations,omitempty"`
	Config      map[string]any               `json:"config,omitempty"`
	History     []History                    `json:"history,omitempty"`
	Layers      int                          `json:"layers"`
	// Entries are those of each layer, sorted by name: a whiteout has the type "whiteout" or "opaque".
	Entries [][]File `json:"entries,omitempty"`
	Files   []File   `json:"files,omitempty"` // of all layers, one on the other
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

// Clock tells a build's own times from those of its sources: what lies between
// Start and now is the build's.
type Clock struct{ Start time.Time }

// ofBuild stands for every time that is the build's own.
const ofBuild = "build"

// slack is how far the kernel's coarse clock is behind.
const slack = 2 * time.Second

// told is a time as results have it.
func (c Clock) told(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.After(c.Start.Add(-slack)) && t.Before(time.Now().Add(slack)):
		return ofBuild
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Without returns the result with a mark in place of the URL that the case's
// files had this time.
func (r *Result) Without(web string) (*Result, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	out := &Result{}
	return out, json.Unmarshal(bytes.ReplaceAll(data, []byte(web), []byte(webMark)), out)
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

// breakLines puts every image, layer, file and history entry on a line of its own.
func breakLines(data []byte) []byte {
	for _, at := range []string{`{"platform":`, `{"path":`, `{"by":`, `"history":[`, `"files":[`, `"layers":`, `"entries":[`} {
		data = bytes.ReplaceAll(data, []byte(at), []byte("\n"+at))
	}
	return bytes.ReplaceAll(data, []byte("],[\n"+`{"path":`), []byte("],\n[\n"+`{"path":`))
}
