package progress

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// The names of the fields are BuildKit's: its clients read these lines.
type (
	rawVertex struct {
		Digest    digest.Digest   `json:"digest,omitempty"`
		Inputs    []digest.Digest `json:"inputs,omitempty"`
		Name      string          `json:"name,omitempty"`
		Started   *time.Time      `json:"started,omitempty"`
		Completed *time.Time      `json:"completed,omitempty"`
		Cached    bool            `json:"cached,omitempty"`
		Error     string          `json:"error,omitempty"`
	}
	rawStatus struct {
		ID        string        `json:"id"`
		Vertex    digest.Digest `json:"vertex,omitempty"`
		Total     int64         `json:"total,omitempty"`
		Current   int64         `json:"current"`
		Timestamp time.Time     `json:"timestamp"`
		Started   *time.Time    `json:"started,omitempty"`
		Completed *time.Time    `json:"completed,omitempty"`
	}
	rawLog struct {
		Vertex    digest.Digest `json:"vertex,omitempty"`
		Stream    int           `json:"stream,omitempty"`
		Data      []byte        `json:"data"`
		Timestamp time.Time     `json:"timestamp"`
	}
	rawWarning struct {
		Vertex digest.Digest `json:"vertex,omitempty"`
		Level  int           `json:"level,omitempty"`
		Short  []byte        `json:"short,omitempty"`
	}
	rawLine struct {
		Vertexes []rawVertex  `json:"vertexes,omitempty"`
		Statuses []rawStatus  `json:"statuses,omitempty"`
		Logs     []rawLog     `json:"logs,omitempty"`
		Warnings []rawWarning `json:"warnings,omitempty"`
	}
)

type rawJSON struct {
	mu       sync.Mutex
	enc      *json.Encoder
	err      error
	closed   bool
	vertexes map[digest.Digest]*rawVertex
	began    map[rawPart]time.Time
}

type rawPart struct {
	step digest.Digest
	id   string
}

// RawJSON writes one JSON object a line, as "docker buildx build
// --progress=rawjson" does. Bytes are base64, as they came from the step.
func RawJSON(w io.Writer) Face {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &rawJSON{enc: enc, vertexes: map[digest.Digest]*rawVertex{}, began: map[rawPart]time.Time{}}
}

func (r *rawJSON) Event(e Event) {
	e.stamp()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.err != nil {
		return
	}
	var line rawLine
	switch e.Kind {
	case Log:
		line.Logs = []rawLog{{Vertex: e.Step, Stream: e.Stream, Data: e.Data, Timestamp: e.Time}}
	case Status:
		line.Statuses = []rawStatus{r.status(&e)}
	case Warn:
		line.Warnings = []rawWarning{{Vertex: e.Step, Level: 1, Short: e.Data}}
	default:
		line.Vertexes = []rawVertex{r.vertex(&e)}
	}
	r.err = r.enc.Encode(line)
}

// vertex tells all that is known of a step: readers replace what they had.
func (r *rawJSON) vertex(e *Event) rawVertex {
	v, ok := r.vertexes[e.Step]
	if !ok {
		v = &rawVertex{Digest: e.Step}
		r.vertexes[e.Step] = v
	}
	if e.Name != "" {
		v.Name = e.Name
	}
	if len(e.Inputs) > 0 {
		v.Inputs = e.Inputs
	}
	if v.Started == nil {
		v.Started = &e.Time
	}
	if e.over() {
		v.Completed, v.Cached, v.Error = &e.Time, e.wasCached(), e.Error
	}
	return *v
}

func (r *rawJSON) status(e *Event) rawStatus {
	part := rawPart{e.Step, e.ID}
	began, ok := r.began[part]
	if !ok {
		began = e.Time
		r.began[part] = began
	}
	s := rawStatus{ID: e.ID, Vertex: e.Step, Total: e.Total, Current: e.Current, Timestamp: e.Time, Started: &began}
	if e.partDone() {
		s.Completed = &e.Time
	}
	return s
}

func (r *rawJSON) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.err
}
