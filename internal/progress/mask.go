package progress

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

var stars = []byte("***")

type masker struct {
	next    Func
	secrets [][]byte // longest first
	hide    *strings.Replacer

	mu   sync.Mutex
	held map[maskKey][]byte
}

type maskKey struct {
	step   digest.Digest
	stream int
}

// Mask shows *** wherever one of the secrets appears in what a step says, also
// when it arrives in pieces: bytes that could begin a secret wait for those
// that follow, at the latest until the step ends. White space around a secret
// does not count, as files often end in a newline that nobody prints.
// It hides accidents; a step that wants to tell can encode a secret.
func Mask(next Func, secrets [][]byte) Func {
	m := &masker{next: next, held: map[maskKey][]byte{}}
	for _, s := range secrets {
		if s = bytes.TrimSpace(s); len(s) > 0 {
			m.secrets = append(m.secrets, slices.Clone(s))
		}
	}
	if len(m.secrets) == 0 {
		return next
	}
	slices.SortFunc(m.secrets, func(a, b []byte) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range m.secrets {
		pairs = append(pairs, string(s), string(stars))
	}
	m.hide = strings.NewReplacer(pairs...)
	return m.event
}

func (m *masker) event(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
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
func (m *masker) split(data []byte) (show, rest []byte) {
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

func (m *masker) secretAt(b []byte) int {
	for _, s := range m.secrets {
		if bytes.HasPrefix(b, s) {
			return len(s)
		}
	}
	return 0
}

// beginsAt tells whether b is the beginning of a secret, and no more.
func (m *masker) beginsAt(b []byte) bool {
	return slices.ContainsFunc(m.secrets, func(s []byte) bool { return len(b) < len(s) && bytes.HasPrefix(s, b) })
}
