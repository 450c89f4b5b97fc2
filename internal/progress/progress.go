// Package progress holds the events of a build and their faces: plain lines, a
// live terminal display, and JSON lines in the shape that BuildKit's clients
// read. Everything a step says is untrusted: no face passes on control
// sequences, and none mixes the output of two steps inside a line.
//
// A builder calls one [Func]; a program makes a [Face], hands its Event method
// to the builder and closes it at the end:
//
//	face := progress.Auto(os.Stderr)
//	defer face.Close()
//	_, err := builder.Build(ctx, builder.Options{Progress: face.Event})
package progress

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Kind says what an event tells.
type Kind string

// The kinds of an event. A step is over after Cached, Done or Error.
const (
	Start  Kind = "start"  // a step begins: Name, Inputs
	Cached Kind = "cached" // a step need not run: Name, Inputs if it never started
	Log    Kind = "log"    // output of a step: Stream, Data
	Status Kind = "status" // a part of a step, such as one download: ID, Current, Total
	Warn   Kind = "warn"   // Data is the text; Step may be empty
	Done   Kind = "done"   // a step is through; Cached if it was not needed after all
	Error  Kind = "error"  // a step failed: Error
)

// Event is one piece of news of a build.
type Event struct {
	Time   time.Time // zero means now
	Kind   Kind
	Step   digest.Digest // which step; empty for the build as a whole
	Name   string
	Inputs []digest.Digest
	Stream int // 1 or 2, as a process counts them; 1 for both if they are not told apart
	Data   []byte
	// ID names the part of the step that a Status is about. It is over when
	// Current reaches a Total above zero.
	ID             string
	Current, Total int64
	Error          string
	Cached         bool
}

// Func is told the news of a build. It may be called by several goroutines at
// once and must not keep Data.
type Func func(Event)

// Face shows events to somebody.
type Face interface {
	// Event takes one piece of news; it is a [Func].
	Event(Event)
	// Close shows what is still held back and gives back the terminal. It
	// returns the first error of writing. Later events are ignored.
	Close() error
}

type quiet struct{}

// Quiet shows nothing.
func Quiet() Face { return quiet{} }

func (quiet) Event(Event) {}

func (quiet) Close() error { return nil }

func (e *Event) stamp() {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
}

// over tells whether the event ends its step.
func (e *Event) over() bool {
	return e.Kind == Done || e.Kind == Error || e.Kind == Cached
}

func (e *Event) wasCached() bool { return e.Kind == Cached || e.Cached }

// partDone tells whether a Status event is the last of its part.
func (e *Event) partDone() bool { return e.Total > 0 && e.Current >= e.Total }
