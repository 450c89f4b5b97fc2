package progress

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	frame       = 100 * time.Millisecond
	logsShown   = 6
	partsShown  = 6
	hideCursor  = "\x1b[?25l"
	showCursor  = "\x1b[?25h"
	clearToEnd  = "\x1b[J"
	clearLine   = "\x1b[K"
	defaultCols = 80
	defaultRows = 24
)

type tty struct {
	w    io.Writer
	size func() (cols, rows int)
	stop chan struct{}
	done chan struct{} // closed when the drawing goroutine is gone

	mu     sync.Mutex
	began  time.Time
	steps  map[digest.Digest]*ttyStep
	order  []*ttyStep
	drawn  int // lines on the screen that the next frame replaces
	hidden bool
	closed bool
	err    error
}

type ttyStep struct {
	name     string
	started  time.Time
	ended    time.Time // zero while it runs
	cached   bool
	failed   string
	streams  [3]lines
	logs     []string // the last few lines
	parts    []ttyPart
	warnings []string
}

type ttyPart struct {
	id             string
	began, at      time.Time
	current, total int64
}

// TTY draws a live display on a terminal whose size the function tells, and
// which must understand ANSI escape sequences. The cursor is hidden from the
// first frame until Close, which leaves the outcome of all steps on the screen.
func TTY(w io.Writer, size func() (cols, rows int)) Face {
	t := &tty{w: w, size: size, steps: map[digest.Digest]*ttyStep{}, stop: make(chan struct{}), done: make(chan struct{})}
	go t.draw()
	return t
}

// draw redraws at a steady pace, whatever the pace of the events; Close stops
// it and waits for it.
func (t *tty) draw() {
	defer close(t.done)
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case now := <-tick.C:
			t.mu.Lock()
			t.paint(now)
			t.mu.Unlock()
		}
	}
}

func (t *tty) Event(e Event) {
	e.stamp()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if t.began.IsZero() {
		t.began = e.Time
	}
	s := t.step(&e)
	switch e.Kind {
	case Log:
		s.keep(s.streams[stream(e.Stream)].add(e.Data))
	case Status:
		s.part(&e)
	case Warn:
		s.warnings = append(s.warnings, oneLine(string(e.Data)))
	}
	if e.over() {
		for i := range s.streams {
			s.keep(s.streams[i].end())
		}
		s.ended, s.cached = e.Time, e.wasCached()
		if e.Kind == Error {
			s.failed = oneLine(e.Error)
		}
	}
}

func (t *tty) step(e *Event) *ttyStep {
	s, ok := t.steps[e.Step]
	if !ok {
		s = &ttyStep{}
		t.steps[e.Step] = s
		t.order = append(t.order, s)
	}
	if s.started.IsZero() || e.Kind == Start {
		s.started, s.ended = e.Time, time.Time{}
	}
	if e.Name != "" {
		s.name = oneLine(e.Name)
	}
	return s
}

func (s *ttyStep) keep(lines []string) {
	s.logs = append(s.logs, lines...)
	if n := len(s.logs) - logsShown; n > 0 {
		s.logs = append(s.logs[:0], s.logs[n:]...)
	}
}

func (s *ttyStep) part(e *Event) {
	id := oneLine(e.ID)
	for i := range s.parts {
		if p := &s.parts[i]; p.id == id {
			p.at, p.current, p.total = e.Time, e.Current, e.Total
			return
		}
	}
	s.parts = append(s.parts, ttyPart{id, e.Time, e.Time, e.Current, e.Total})
}

// paint replaces the frame on the screen by the one of now. It needs t.mu.
func (t *tty) paint(now time.Time) {
	if len(t.order) == 0 || t.err != nil {
		return
	}
	cols, rows := t.dimensions()
	t.replace(t.render(now, cols, rows-1))
}

// replace writes the frame in one go, so that nothing flickers.
func (t *tty) replace(frame []string) {
	var b bytes.Buffer
	if !t.hidden {
		t.hidden = true
		b.WriteString(hideCursor)
	}
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	b.WriteByte('\r')
	for _, line := range frame {
		b.WriteString(line + clearLine + "\n")
	}
	b.WriteString(clearToEnd)
	t.drawn = len(frame)
	_, t.err = t.w.Write(b.Bytes())
}

func (t *tty) dimensions() (cols, rows int) {
	cols, rows = t.size()
	if cols <= 0 {
		cols = defaultCols
	}
	if rows <= 0 {
		rows = defaultRows
	}
	return cols, rows
}

// Close draws everything once more, without regard to the height: what no
// longer fits may scroll now.
func (t *tty) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return t.err
	}
	t.closed = true
	t.mu.Unlock()
	close(t.stop)
	<-t.done

	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) > 0 && t.err == nil {
		cols, _ := t.dimensions()
		t.replace(t.renderAll(time.Now(), cols))
	}
	if t.hidden {
		if _, err := io.WriteString(t.w, showCursor); t.err == nil {
			t.err = err
		}
	}
	return t.err
}
