package progress

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// screen plays what a TTY face writes on a terminal that never scrolls.
func screen(t *testing.T, written string, cols int) []string {
	t.Helper()
	var rows []string
	row := 0
	line := ""
	end := func() {
		for len(rows) <= row {
			rows = append(rows, "")
		}
		rows[row] = line
	}
	for len(written) > 0 {
		switch {
		case strings.HasPrefix(written, "\x1b["):
			i := strings.IndexFunc(written[2:], func(r rune) bool { return r >= '@' && r <= '~' }) + 2
			switch n, _ := strconv.Atoi(written[2:i]); written[i] {
			case 'A':
				row -= n
			case 'J':
				rows = rows[:min(row, len(rows))]
			}
			written = written[i+1:]
		case written[0] == '\n':
			end()
			row, line, written = row+1, "", written[1:]
		case written[0] == '\r':
			line, written = "", written[1:]
		default:
			line, written = line+written[:1], written[1:]
		}
		if width(line) >= cols {
			t.Fatalf("a line reaches the edge of %d columns: %q", cols, line)
		}
		if row < 0 {
			t.Fatal("the cursor leaves the screen")
		}
	}
	return rows
}

// stopped returns a face that draws only when told to.
func stopped(t *testing.T, buf *bytes.Buffer, cols, rows int) *tty {
	t.Helper()
	f := TTY(buf, func() (int, int) { return cols, rows }).(*tty)
	close(f.stop)
	<-f.done
	f.stop = make(chan struct{})
	return f
}

func TestTTYFrames(t *testing.T) {
	var buf bytes.Buffer
	f := stopped(t, &buf, 60, 24)
	events := story()
	for _, e := range events[:9] {
		f.Event(e)
	}
	f.paint(at(2))
	want := []string{
		"[+] Building 2.0s (1/3)",
		" => CACHED [1/3] FROM docker.io/library/busybox        0.0s",
		" => [2/3] RUN pip install \\   fastapi                  1.9s",
		" => => # Collecting fastapi",
		" => => # 100%",
		" => => # red    end",
		" => [3/3] COPY . .                                     1.8s",
		" => => transferring context 1.50MB / 3.00MB            0.3s",
		" => => # one",
		" => => # two",
	}
	if diff := cmp.Diff(want, screen(t, buf.String(), 60)); diff != "" {
		t.Errorf("while it runs (-want +got):\n%s", diff)
	}
	for _, e := range events[9:] {
		f.Event(e)
	}
	f.paint(at(7))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want = []string{
		"[+] Building 6.5s (3/3) FINISHED",
		" => CACHED [1/3] FROM docker.io/library/busybox        0.0s",
		" => ERROR [2/3] RUN pip install \\   fastapi            6.4s",
		" => => # Collecting fastapi",
		" => => # 100%",
		" => => # red    end",
		" => => # no newline at the end",
		" => => ERROR: exit code: 1 last line",
		" => [3/3] COPY . .                                     6.1s",
		" => => WARN: socket left out",
	}
	if diff := cmp.Diff(want, screen(t, buf.String(), 60)); diff != "" {
		t.Errorf("in the end (-want +got):\n%s", diff)
	}
	if s := buf.String(); !strings.HasPrefix(s, hideCursor) || !strings.HasSuffix(s, showCursor) || strings.Count(s, hideCursor) != 1 {
		t.Error("the cursor is not hidden once and given back in the end")
	}
}

func TestTTYKeepsInsideTheTerminal(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 5}, {12, 3}, {5, 2}, {2, 1}, {0, 0}} {
		var buf bytes.Buffer
		f := stopped(t, &buf, size[0], size[1])
		for i := range 30 {
			step := digest.FromString(fmt.Sprint(i))
			f.Event(Event{Time: at(0), Kind: Start, Step: step, Name: fmt.Sprintf("[%d] 日本語日本語日本語 %s", i, strings.Repeat("x", 90))})
			f.Event(out(1, step, strings.Repeat("\tlog\n", 20)))
			if i < 20 {
				f.Event(Event{Time: at(1), Kind: Done, Step: step})
			}
			f.paint(at(2))
			cols, rows := f.dimensions()
			if got := screen(t, buf.String(), cols); len(got) > max(2, rows-1) {
				t.Fatalf("%v: %d lines", size, len(got))
			}
		}
	}
}

func TestTTYWithoutEventsWritesNothing(t *testing.T) {
	var buf bytes.Buffer
	if err := TTY(&buf, func() (int, int) { return 80, 24 }).Close(); err != nil || buf.Len() != 0 {
		t.Errorf("%q, %v", buf.String(), err)
	}
}

func TestTTYShowsRunningStepsFirst(t *testing.T) {
	var buf bytes.Buffer
	f := stopped(t, &buf, 40, 4)
	for i := range 5 {
		step := digest.FromString(fmt.Sprint(i))
		f.Event(Event{Time: at(0), Kind: Start, Step: step, Name: fmt.Sprint("step ", i)})
		if i != 1 {
			f.Event(Event{Time: at(1), Kind: Done, Step: step})
		}
	}
	f.paint(at(2))
	want := []string{"[+] Building 2.0s (4/5)", " => step 1                         2.0s", " => step 4                         1.0s"}
	if diff := cmp.Diff(want, screen(t, buf.String(), 40)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
