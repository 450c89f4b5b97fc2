package progress

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

var stars = []byte("***")

// Masker shows *** wherever a secret appears in what a step says, also when it
// arrives in pieces: bytes that could begin a secret wait for those that follow,
// at the latest until the step ends. White space around a secret does not count,
// as files often end in a newline that nobody prints. Of a secret of several
// lines each is one too, if it is long enough to be none by chance.
// It hides accidents; a step that wants to tell can encode a secret.
// A Masker is safe for concurrent use.
type Masker struct {
	next Func

	mu      sync.Mutex
	secrets [][]byte // longest first
	hide    *strings.Replacer
	held    map[maskKey][]byte
}

type maskKey struct {
	step   digest.Digest
	stream int
}

// NewMasker returns a Masker in front of next, which may be nil.
func NewMasker(next Func) *Masker {
	if next == nil {
		next = func(Event) {}
	}
	return &Masker{next: next, held: map[maskKey][]byte{}, hide: strings.NewReplacer()}
}

// Learn adds a secret to those that are hidden from now on.
func (m *Masker) Learn(secret []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learn(secret)
	if lines := bytes.Split(bytes.TrimSpace(secret), []byte("\n")); len(lines) > 1 {
		for _, l := range lines {
			if l = bytes.TrimSpace(l); len(l) >= shortestLine {
				m.learn(l)
			}
		}
	}
}

// shortestLine is how many bytes a line of a secret has that is hidden by itself.
const shortestLine = 8

func (m *Masker) learn(secret []byte) {
	secret = bytes.TrimSpace(secret)
	if len(secret) == 0 || slices.ContainsFunc(m.secrets, func(s []byte) bool { return bytes.Equal(s, secret) }) {
		return
	}
	m.secrets = append(m.secrets, slices.Clone(secret))
	slices.SortFunc(m.secrets, func(a, b []byte) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range m.secrets {
		pairs = append(pairs, string(s), string(stars))
	}
	m.hide = strings.NewReplacer(pairs...)
}

// Hide returns data with every secret replaced.
func (m *Masker) Hide(data []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []byte(m.hide.Replace(string(data)))
}

// Event passes e on, without secrets.
func (m *Masker) Event(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.secrets) == 0 {
		m.next(e)
		return
	}
	if e.Kind == Log {
		key := maskKey{e.Step, e.Stream}
		e.Data, m.held[key] = m.split(append(m.held[key], e.Data...))
		if len(e.Data) > 0 {
			m.next(e)
		}
		return
	}
	if e.over() {
		for _, stream := range []int{0, 1, 2} {
			key := maskKey{e.Step, stream}
			if rest := m.held[key]; len(rest) > 0 {
				m.next(Event{Time: e.Time, Kind: Log, Step: e.Step, Stream: stream, Data: []byte(m.hide.Replace(string(rest)))})
			}
			delete(m.held, key)
		}
	}
	e.Name, e.Error, e.ID = m.hide.Replace(e.Name), m.hide.Replace(e.Error), m.hide.Replace(e.ID)
	e.Data = []byte(m.hide.Replace(string(e.Data)))
	m.next(e)
}

// split returns what can be shown of data, masked, and what has to wait.
func (m *Masker) split(data []byte) (show, rest []byte) {
	for i := 0; i < len(data); {
		if m.beginsAt(data[i:]) { // first: it may hold a shorter secret
			return show, slices.Clone(data[i:])
		}
		if n := m.secretAt(data[i:]); n > 0 {
			show, i = append(show, stars...), i+n
			continue
		}
		show, i = append(show, data[i]), i+1
	}
	return show, nil
}

func (m *Masker) secretAt(b []byte) int {
	for _, s := range m.secrets {
		if bytes.HasPrefix(b, s) {
			return len(s)
		}
	}
	return 0
}

// beginsAt tells whether b is the beginning of a secret, and no more.
func (m *Masker) beginsAt(b []byte) bool {
	return slices.ContainsFunc(m.secrets, func(s []byte) bool { return len(b) < len(s) && bytes.HasPrefix(s, b) })
}
