// Package graph turns LLB, the low-level build definition of BuildKit, into
// typed steps. It is a pure function of its bytes: no disk, no process, no
// network. Nothing above it sees the wire format.
package graph

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Graph is a build: its steps, inputs before the steps that use them.
type Graph struct {
	Steps []*Step
	// Result is what the whole graph yields; its Step is nil for an empty
	// image (FROM scratch and nothing else).
	Result Input
}

// Step is one operation, known by the digest of its LLB bytes.
type Step struct {
	ID       digest.Digest
	Op       Op
	Inputs   []Input
	Platform *ocispec.Platform // nil where the operation has none
	Name     string            // what a person calls it: "[2/4] RUN make"
	Internal bool              // not worth a line of its own in the progress
	NoCache  bool              // --no-cache holds for this step
	Source   Span
}

// Input is one output of another step.
type Input struct {
	Step   *Step
	Output int
}

// Span says where in a Dockerfile a step comes from.
type Span struct {
	File  string
	Data  []byte // the whole file
	Lines []Range
}

// Range is a range of lines, counted from one, both ends included.
type Range struct{ First, Last int }

// String returns "Dockerfile:7" or "" for an unknown place.
func (s Span) String() string {
	if len(s.Lines) == 0 {
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Lines[0].First)
}

// Excerpt returns the lines around the span, each of the span marked.
func (s Span) Excerpt() string {
	if len(s.Lines) == 0 {
		return ""
	}
	const around, most = 2, 30
	lines := strings.Split(string(s.Data), "\n")
	first, last := s.Lines[0].First, s.Lines[len(s.Lines)-1].Last
	end := min(len(lines), last+around)
	var b strings.Builder
	for n := max(1, first-around); n <= end; n++ {
		if n-first == most && end-n > most { // a heredoc may have any length
			fmt.Fprintf(&b, "     | >>> … %d lines\n", end-n-around)
			n = end - around
		}
		mark := "   "
		if n >= first && n <= last {
			mark = ">>>"
		}
		line := fmt.Sprintf("%4d | %s %s", n, mark, shortened(strings.TrimRight(lines[n-1], "\r")))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// shortened is the beginning of a line that no screen holds.
func shortened(line string) string {
	const most = 1000
	if len(line) <= most {
		return line
	}
	return strings.ToValidUTF8(line[:most], "") + "…"
}

// String draws the graph as text, one step a line.
func (g *Graph) String() string {
	number := map[*Step]int{}
	var b strings.Builder
	for i, s := range g.Steps {
		number[s] = i
		fmt.Fprintf(&b, "%d %s", i, s.Op.Kind())
		for _, in := range s.Inputs {
			fmt.Fprintf(&b, " <%d:%d", number[in.Step], in.Output)
		}
		if s.Name != "" {
			fmt.Fprintf(&b, " %s", s.Name)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
