package progress

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes bytes of a step harmless on a terminal and in a log: escape
// sequences, control characters and switches of direction go, tabs stay, and what is not UTF-8 is
// marked. Colours go too: one that is never reset would spill over what follows.
func clean(line []byte) string {
	var out strings.Builder
	for len(line) > 0 {
		if n := escapeLength(line); n > 0 {
			line = line[n:]
			continue
		}
		r, n := utf8.DecodeRune(line)
		line = line[n:]
		if r == '\t' || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r) {
			out.WriteRune(r) // an invalid byte becomes U+FFFD here
		}
	}
	return out.String()
}

// escapeLength returns how long the escape sequence is that b starts with, 0 if
// it starts with none (ECMA-48). One that never ends reaches to the end of b.
func escapeLength(b []byte) int {
	switch {
	case b[0] == 0x1b && len(b) > 1:
		return sequenceLength(b, b[1])
	case b[0] == 0x1b:
		return 1
	case b[0] == 0xc2 && len(b) > 1 && b[1] >= 0x80 && b[1] <= 0x9f:
		return sequenceLength(b, b[1]-0x40) // the same as one character
	}
	return 0
}

// sequenceLength returns the length of a sequence of that kind, which the first
// two bytes of b have told.
func sequenceLength(b []byte, kind byte) int {
	i := 2
	switch {
	case kind == '[':
		return parametersLength(b, i)
	case strings.IndexByte("]PX^_", kind) >= 0:
		return stringLength(b, i)
	case kind >= 0x20 && kind <= 0x2f: // character sets and the like: intermediates, then one more
		for i < len(b) && b[i] >= 0x20 && b[i] <= 0x2f {
			i++
		}
		return min(i+1, len(b))
	case kind < 0x20 || kind > 0x7e:
		return 1 // a lone escape
	}
	return i
}

// parametersLength finds the end of a control sequence: colours, the cursor.
func parametersLength(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		if b[i] >= 0x40 && b[i] <= 0x7e {
			return i + 1
		}
		if b[i] < 0x20 || b[i] > 0x7e {
			return i // broken off: what follows is text again
		}
	}
	return len(b)
}

// stringLength finds the end of a control string (a window title, a link):
// BEL, or ST in either form.
func stringLength(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		switch {
		case b[i] == 0x07:
			return i + 1
		case i+1 < len(b) && (b[i] == 0x1b && b[i+1] == '\\' || b[i] == 0xc2 && b[i+1] == 0x9c):
			return i + 2
		}
	}
	return len(b)
}

// oneLine makes a step's name or an error fit on one line.
func oneLine(s string) string {
	return clean([]byte(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")))
}

// maxLine is where a line without an end is cut.
const maxLine = 16 << 10

// lines cuts the output of one stream of a step into lines.
type lines struct{ rest []byte }

// add returns the lines that data completes.
func (l *lines) add(data []byte) []string {
	var out []string
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			break
		}
		l.rest = append(l.rest, data[:i]...)
		out = append(out, lastFrame(l.rest))
		l.rest, data = l.rest[:0], data[i+1:]
	}
	l.rest = append(l.rest, data...)
	if len(l.rest) > maxLine {
		out = l.cut(out)
	}
	return out
}

// cut bounds what is held back. Of a progress bar that redraws itself for ever
// only the newest frame is of interest; anything else is shown in pieces.
func (l *lines) cut(out []string) []string {
	if i := bytes.LastIndexByte(l.rest[:len(l.rest)-1], '\r'); i >= 0 {
		l.rest = append(l.rest[:0], l.rest[i+1:]...)
	}
	for len(l.rest) > maxLine {
		n := maxLine
		for n > maxLine-utf8.UTFMax && !utf8.RuneStart(l.rest[n]) {
			n--
		}
		out = append(out, clean(l.rest[:n]))
		l.rest = append(l.rest[:0], l.rest[n:]...)
	}
	return out
}

// end returns the line that was never ended.
func (l *lines) end() []string {
	if len(l.rest) == 0 {
		return nil
	}
	line := lastFrame(l.rest)
	l.rest = nil
	return []string{line}
}

// lastFrame is what a line shows in the end when carriage returns draw it
// several times over.
func lastFrame(line []byte) string {
	line = bytes.TrimRight(line, "\r")
	return clean(line[bytes.LastIndexByte(line, '\r')+1:])
}

// size prints bytes the way registries count them.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, u := float64(n), 0
	for f >= 1000 && u < len(units)-1 {
		f, u = f/1000, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%.2f%s", f, units[u])
}

// amount prints how far a part of a step is.
func amount(current, total int64) string {
	switch {
	case total > 0:
		return " " + size(current) + " / " + size(total)
	case current > 0:
		return " " + size(current)
	}
	return ""
}
