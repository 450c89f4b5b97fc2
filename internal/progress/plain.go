package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// statusEvery is how often plain tells about a part of a step that goes on.
const statusEvery = 5 * time.Second

type plain struct {
	mu     sync.Mutex
	w      io.Writer
	err    error
	closed bool
	steps  map[digest.Digest]*plainStep
	order  []*plainStep
	named  bool // a step was announced before: set the next one apart
}

type plainStep struct {
	number  int
	name    string
	shown   bool // its name
	started time.Time
	streams [3]lines
	parts   map[string]*plainPart
}

type plainPart struct {
	began, told time.Time
	done        bool
}

// Plain writes lines that need no terminal, in the manner of docker buildx:
// each begins with the number of its step, so that concurrent ones can be told
// apart. A line is written as a whole, when it is complete.
func Plain(w io.Writer) Face {
	return &plain{w: w, steps: map[digest.Digest]*plainStep{}}
}

func (p *plain) Event(e Event) {
	e.stamp()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	s := p.step(&e)
	switch e.Kind {
	case Log:
		p.lines(s, e.Time, s.streams[stream(e.Stream)].add(e.Data))
	case Status:
		p.status(s, &e)
	case Warn:
		p.printf("#%d WARN: %s\n", s.number, oneLine(string(e.Data)))
	}
	if e.over() {
		p.end(s, &e)
	}
}

// step finds the step of an event, and announces it the first time.
func (p *plain) step(e *Event) *plainStep {
	s, ok := p.steps[e.Step]
	if !ok {
		s = &plainStep{parts: map[string]*plainPart{}}
		if e.Step != "" { // the build as a whole is number 0
			p.order = append(p.order, s)
			s.number = len(p.order)
		}
		p.steps[e.Step] = s
	}
	if s.started.IsZero() || e.Kind == Start {
		s.started = e.Time
	}
	if e.Name != "" {
		s.name = oneLine(e.Name)
	}
	if !s.shown && s.name != "" {
		s.shown = true
		if p.named {
			p.printf("\n")
		}
		p.named = true
		p.printf("#%d %s\n", s.number, s.name)
	}
	return s
}

// stream keeps to the streams we have, whatever an event says.
func stream(n int) int {
	if n < 0 || n > 2 {
		return 0
	}
	return n
}

func (p *plain) lines(s *plainStep, at time.Time, lines []string) {
	for _, line := range lines {
		p.printf("#%d %.3f %s\n", s.number, seconds(s.started, at), line)
	}
}

// seconds is never negative: events may overtake each other.
func seconds(from, to time.Time) float64 { return max(0, to.Sub(from).Seconds()) }

func (p *plain) status(s *plainStep, e *Event) {
	part, ok := s.parts[e.ID]
	if !ok {
		part = &plainPart{began: e.Time}
		s.parts[e.ID] = part
	}
	last := e.partDone()
	if part.done || ok && !last && e.Time.Sub(part.told) < statusEvery {
		return
	}
	part.told, part.done = e.Time, last
	var tail string
	if d := seconds(part.began, e.Time); d > 0.01 {
		tail = fmt.Sprintf(" %.1fs", d)
	}
	if last {
		tail += " done"
	}
	p.printf("#%d %s%s%s\n", s.number, oneLine(e.ID), amount(e.Current, e.Total), tail)
}

// end writes the last lines of a step.
func (p *plain) end(s *plainStep, e *Event) {
	p.flush(s, e.Time)
	switch {
	case e.Kind == Error:
		p.printf("#%d ERROR: %s\n", s.number, errorText(e.Error, s.number))
	case e.wasCached():
		p.printf("#%d CACHED\n", s.number)
	default:
		p.printf("#%d DONE %.1fs\n", s.number, seconds(s.started, e.Time))
	}
}

// errorText keeps the lines of an error apart, each with the number of its step.
func errorText(text string, number int) string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		out = append(out, clean([]byte(line)))
	}
	return strings.Join(out, fmt.Sprintf("\n#%d ", number))
}

func (p *plain) flush(s *plainStep, at time.Time) {
	for i := range s.streams {
		p.lines(s, at, s.streams[i].end())
	}
}

func (p *plain) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		now := time.Now()
		for _, s := range p.order {
			p.flush(s, now)
		}
	}
	return p.err
}
