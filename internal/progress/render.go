package progress

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// render returns the lines of a live frame, no more than height of them. When
// not everything fits, running steps and the newest ones are what is shown.
func (t *tty) render(now time.Time, cols, height int) []string {
	head := t.header(now, cols)
	room := max(height-1, 1)
	bodies := make([][]string, len(t.order))
	for i, s := range t.order {
		bodies[i] = s.render(now, cols, s.ended.IsZero())
	}
	for _, drop := range []func(int){
		func(i int) { bodies[i] = truncate(bodies[i], 1) }, // details first
		func(i int) { // then what is through
			if !t.order[i].ended.IsZero() {
				bodies[i] = nil
			}
		},
		func(i int) { bodies[i] = nil },
	} {
		for i := 0; i < len(bodies) && count(bodies) > room; i++ {
			drop(i)
		}
	}
	frame := []string{head}
	for _, b := range bodies {
		frame = append(frame, b...)
	}
	return frame
}

// renderAll returns the lines that stay on the screen in the end.
func (t *tty) renderAll(now time.Time, cols int) []string {
	frame := []string{t.header(now, cols)}
	for _, s := range t.order {
		frame = append(frame, s.render(now, cols, s.failed != "")...)
	}
	return frame
}

func truncate(lines []string, n int) []string { return lines[:min(n, len(lines))] }

func count(bodies [][]string) int {
	n := 0
	for _, b := range bodies {
		n += len(b)
	}
	return n
}

func (t *tty) header(now time.Time, cols int) string {
	done, end := 0, t.began
	for _, s := range t.order {
		if !s.ended.IsZero() {
			done++
			if s.ended.After(end) {
				end = s.ended
			}
		}
	}
	mark := ""
	if done < len(t.order) {
		end = now
	} else {
		mark = " FINISHED"
	}
	return fit(fmt.Sprintf("[+] Building %.1fs (%d/%d)%s", seconds(t.began, end), done, len(t.order), mark), cols)
}

// render returns the line of a step, and with details what it is doing.
func (s *ttyStep) render(now time.Time, cols int, details bool) []string {
	mark, end := "", now
	if !s.ended.IsZero() {
		end = s.ended
	}
	switch {
	case s.failed != "":
		mark = "ERROR "
	case s.cached:
		mark = "CACHED "
	}
	lines := []string{spread(" => "+mark+s.name, fmt.Sprintf("%.1fs", seconds(s.started, end)), cols)}
	for _, w := range s.warnings {
		lines = append(lines, fit(" => => WARN: "+w, cols))
	}
	if !details {
		return lines
	}
	for _, p := range s.parts[max(0, len(s.parts)-partsShown):] {
		lines = append(lines, spread(" => => "+p.id+amount(p.current, p.total), fmt.Sprintf("%.1fs", seconds(p.began, p.at)), cols))
	}
	for _, l := range s.logs {
		lines = append(lines, fit(" => => # "+l, cols))
	}
	if s.failed != "" {
		lines = append(lines, fit(" => => ERROR: "+s.failed, cols))
	}
	return lines
}

// spread sets left and right to the two ends of a line.
func spread(left, right string, cols int) string {
	room := cols - 1 - len(right)
	if room < 8 {
		return fit(left+" "+right, cols)
	}
	left = fit(left, room)
	return left + strings.Repeat(" ", max(1, room-width(left))) + right
}

// fit cuts a line so that it leaves the last column free: a terminal wraps
// when it is written to, and wrapped lines could not be replaced.
func fit(line string, cols int) string {
	line = strings.ReplaceAll(line, "\t", "    ")
	w := 0
	for i, r := range line {
		if w += runeWidth(r); w > cols-1 {
			return line[:i]
		}
	}
	return line
}

func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// wide are the blocks whose characters take two columns, roughly: too wide is
// harmless, too narrow would wrap.
var wide = [][2]rune{{0x1100, 0x115f}, {0x231a, 0x231b}, {0x23e9, 0x23f3}, {0x25fd, 0x25fe}, {0x2600, 0x27bf}, {0x2b1b, 0x2b55}, {0x2e80, 0xa4cf},
	{0xa960, 0xa97f}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe10, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x16fe0, 0x18cff}, {0x1b000, 0x1b2ff},
	{0x1f000, 0x1faff}, {0x20000, 0x3fffd}}

func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) || unicode.Is(unicode.Cf, r) {
		return 0
	}
	for _, b := range wide {
		if r >= b[0] && r <= b[1] {
			return 2
		}
	}
	return 1
}
