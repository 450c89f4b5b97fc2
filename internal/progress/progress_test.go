package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

var epoch = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// at is a time some seconds into a build.
func at(s float64) time.Time { return epoch.Add(time.Duration(s * float64(time.Second))) }

const (
	base = digest.Digest("sha256:aaaa")
	run  = digest.Digest("sha256:bbbb")
	cp   = digest.Digest("sha256:cccc")
)

func out(t float64, step digest.Digest, text string) Event {
	return Event{Time: at(t), Kind: Log, Step: step, Stream: 1, Data: []byte(text)}
}

// story is a small build in which two steps run at the same time.
func story() []Event {
	return []Event{
		{Time: at(0), Kind: Cached, Step: base, Name: "[1/3] FROM docker.io/library/busybox"},
		{Time: at(0.1), Kind: Start, Step: run, Name: "[2/3] RUN pip install \\\n  fastapi", Inputs: []digest.Digest{base}},
		{Time: at(0.2), Kind: Start, Step: cp, Name: "[3/3] COPY . ."},
		out(0.3, run, "Collecting"), // no end of line yet
		out(0.4, cp, "one\ntwo\n"),
		out(0.5, run, " fastapi\r\n 10%\r 50%\r100%\n"),
		{Time: at(0.6), Kind: Log, Step: run, Stream: 2, Data: []byte("\x1b[31mred\x1b[0m\t\x1b[2J\x1b]0;title\x07end\x08\x00\n")},
		{Time: at(0.7), Kind: Status, Step: cp, ID: "transferring context", Current: 10},
		{Time: at(1.0), Kind: Status, Step: cp, ID: "transferring context", Current: 1_500_000, Total: 3_000_000},
		{Time: at(6.0), Kind: Status, Step: cp, ID: "transferring context", Current: 2_000_000, Total: 3_000_000},
		{Time: at(6.1), Kind: Status, Step: cp, ID: "transferring context", Current: 3_000_000, Total: 3_000_000},
		{Time: at(6.2), Kind: Warn, Step: cp, Data: []byte("socket left out")},
		{Time: at(6.3), Kind: Done, Step: cp},
		out(6.4, run, "no newline at the end"),
		{Time: at(6.5), Kind: Error, Step: run, Error: "exit code: 1\nlast \x1b[1mline"},
	}
}

const plainStory = `#1 [1/3] FROM docker.io/library/busybox
#1 CACHED

#2 [2/3] RUN pip install \   fastapi

#3 [3/3] COPY . .
#3 0.200 one
#3 0.200 two
#2 0.400 Collecting fastapi
#2 0.400 100%
#2 0.500 red	end
#3 transferring context 10B
#3 transferring context 2.00MB / 3.00MB 5.3s
#3 transferring context 3.00MB / 3.00MB 5.4s done
#3 WARN: socket left out
#3 DONE 6.1s
#2 6.400 no newline at the end
#2 ERROR: exit code: 1
#2 last line
`

func TestPlain(t *testing.T) {
	var buf bytes.Buffer
	f := Plain(&buf)
	for _, e := range story() {
		f.Event(e)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plainStory, buf.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.Event(out(9, run, "late\n"))
	if err := f.Close(); err != nil || buf.String() != plainStory {
		t.Errorf("after Close: %v, %q", err, buf.String()[len(plainStory):])
	}
}

func TestPlainFlushesWhatWasNeverEnded(t *testing.T) {
	var buf bytes.Buffer
	f := Plain(&buf)
	f.Event(Event{Kind: Start, Step: run, Name: "RUN x"})
	f.Event(Event{Kind: Log, Step: run, Stream: 1, Data: []byte("half a line")})
	if strings.Contains(buf.String(), "half") {
		t.Error("half a line was written before its end")
	}
	f.Close()
	if !strings.HasSuffix(buf.String(), " half a line\n") {
		t.Errorf("%q", buf.String())
	}
}

func TestPlainBoundsLines(t *testing.T) {
	var l lines
	var got int
	for range 100 {
		for _, s := range l.add(bytes.Repeat([]byte("€"), 1000)) {
			if len(s) > maxLine || strings.ContainsRune(s, '\ufffd') {
				t.Fatalf("a line of %d bytes, or a character cut in two", len(s))
			}
			got += len(s)
		}
	}
	if got += len(l.rest); got != 300_000 || len(l.rest) > maxLine {
		t.Errorf("%d bytes, %d held back", got, len(l.rest))
	}
	var bar lines
	for i := range 10_000 {
		if s := bar.add(fmt.Appendf(nil, "\r%d%%", i)); s != nil {
			t.Fatalf("frames of a progress bar were shown: %q", s)
		}
	}
	if got := bar.add([]byte("\n")); len(got) != 1 || got[0] != "9999%" {
		t.Errorf("%q", got)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain \t text":                    "plain \t text",
		"\x1b[1;31mred\x1b[m":              "red",
		"\x1b[2J\x1b[H\x1b[10;20Hx":        "x",
		"\x1b]8;;http://x\x1b\\link\x1b]8": "link",
		"\x1b]0;title\x07x":                "x",
		"\u009b2Jx\u009d0;t\u009cy":        "xy",
		"\x1bPq#0\x1b\\x":                  "x",
		"\x1b(Bx\x1b7y\x1bcz":              "xyz",
		"a\x08\x07\x00\x7fb":               "ab",
		"a\x1b":                            "a",
		"a\x1b[12":                         "a",
		"a\x1b[1\x01b":                     "ab",
		"a\x9bb\xff":                       "a\ufffdb\ufffd",
		"a\u202eb\u2066c":                  "abc",
		"日本 €":                             "日本 €",
		"\x1b\x1b[31mx":                    "x",
	} {
		if got := clean([]byte(in)); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add([]byte("\x1b[31mx\x1b]0;t\x07\u009b2J"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, r := range clean(data) {
			if r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Errorf("%q lets %U through", data, r)
			}
		}
	})
}

func TestRawJSON(t *testing.T) {
	var buf bytes.Buffer
	f := RawJSON(&buf)
	f.Event(Event{Time: at(0), Kind: Start, Step: run, Name: "RUN <x>", Inputs: []digest.Digest{base}})
	f.Event(out(1, run, "hi\n"))
	f.Event(Event{Time: at(1), Kind: Status, Step: run, ID: "pull", Current: 5})
	f.Event(Event{Time: at(2), Kind: Status, Step: run, ID: "pull", Current: 9, Total: 9})
	f.Event(Event{Time: at(2), Kind: Warn, Step: run, Data: []byte("w")})
	f.Event(Event{Time: at(3), Kind: Error, Step: run, Error: "exit code: 1"})
	f.Event(Event{Time: at(3), Kind: Cached, Step: cp, Name: "COPY"})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	const want = `{"vertexes":[{"digest":"sha256:bbbb","inputs":["sha256:aaaa"],"name":"RUN <x>","started":"2024-05-06T07:08:09Z"}]}
{"logs":[{"vertex":"sha256:bbbb","stream":1,"data":"aGkK","timestamp":"2024-05-06T07:08:10Z"}]}
{"statuses":[{"id":"pull","vertex":"sha256:bbbb","current":5,"timestamp":"2024-05-06T07:08:10Z","started":"2024-05-06T07:08:10Z"}]}
{"statuses":[{"id":"pull","vertex":"sha256:bbbb","total":9,"current":9,"timestamp":"2024-05-06T07:08:11Z","started":"2024-05-06T07:08:10Z","completed":"2024-05-06T07:08:11Z"}]}
{"warnings":[{"vertex":"sha256:bbbb","level":1,"short":"dw=="}]}
{"vertexes":[{"digest":"sha256:bbbb","inputs":["sha256:aaaa"],"name":"RUN <x>","started":"2024-05-06T07:08:09Z","completed":"2024-05-06T07:08:12Z","error":"exit code: 1"}]}
{"vertexes":[{"digest":"sha256:cccc","name":"COPY","started":"2024-05-06T07:08:12Z","completed":"2024-05-06T07:08:12Z","cached":true}]}
`
	if diff := cmp.Diff(want, buf.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for line := range strings.Lines(buf.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestFacesReportErrorsOfWriting(t *testing.T) {
	for name, f := range faces(broken{}) {
		for _, e := range story() {
			f.Event(e)
		}
		if err := f.Close(); err == nil || err.Error() != "disk full" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func faces(w interface{ Write([]byte) (int, error) }) map[string]Face {
	return map[string]Face{"plain": Plain(w), "rawjson": RawJSON(w), "tty": TTY(w, func() (int, int) { return 80, 24 })}
}

func TestFacesTakeConcurrentEvents(t *testing.T) {
	for name, f := range faces(&bytes.Buffer{}) {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					step := digest.FromString(fmt.Sprint(i % 4))
					for range 50 {
						f.Event(Event{Kind: Log, Step: step, Name: "x", Stream: 1 + i/4, Data: []byte("some text\nmore")})
					}
					f.Event(Event{Kind: Done, Step: step})
				})
			}
			wg.Wait()
			if err := errors.Join(f.Close(), f.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAutoIsPlainWithoutTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := Auto(file)
	defer f.Close()
	if _, ok := f.(*plain); !ok {
		t.Errorf("%T", f)
	}
}

func masking(next Func, secrets [][]byte) Func {
	m := NewMasker(next)
	for _, s := range secrets {
		m.Learn(s)
	}
	return m.Event
}

func TestMask(t *testing.T) {
	secrets := [][]byte{[]byte("hunter2\n"), []byte("hunter2-long"), nil, []byte("  "), []byte("-- BEGIN --\nshort\n  abcdefgh\n-- END --\n")}
	tests := []struct {
		name   string
		chunks []string
		want   string
	}{
		{"whole", []string{"a hunter2 b"}, "a *** b"},
		{"in pieces", []string{"a hun", "t", "er2", " b"}, "a *** b"},
		{"byte by byte", strings.Split("xhunter2hunter2y", ""), "x******y"},
		{"a false start", []string{"hunt", "ing"}, "hunting"},
		{"restart inside a false start", []string{"hunhun", "ter2"}, "hun***"},
		{"the longer one", []string{"hunter2", "-long!"}, "***!"},
		{"the shorter one after all", []string{"hunter2-lo", "st"}, "***-lost"},
		{"at the very end", []string{"x hunter2"}, "x ***"},
		{"lines of a longer one", []string{"is abcd", "efgh", " and short"}, "is *** and short"},
		{"all of its lines", []string{"-- BEGIN --\nshort\n", "  abcdefgh\n-- END --\n"}, "***\n"},
		{"the lines in another order", []string{"abcdefgh\n-- BEGIN --\n"}, "***\n***\n"},
		{"unfinished at the end", []string{"x hunter"}, "x hunter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got strings.Builder
			f := masking(func(e Event) { got.Write(e.Data) }, secrets)
			for _, c := range tt.chunks {
				f(out(0, run, c))
				f(Event{Kind: Log, Step: run, Stream: 2}) // another stream does not come between
			}
			f(Event{Kind: Done, Step: run})
			if got.String() != tt.want {
				t.Errorf("%q, want %q", got.String(), tt.want)
			}
		})
	}
	masking(func(e Event) {
		if e.Error != "exit: ***" || e.Name != "RUN ***" {
			t.Errorf("%+v", e)
		}
	}, secrets)(Event{Kind: Error, Step: run, Name: "RUN hunter2", Error: "exit: hunter2"})
}
