package solve

import (
	"bytes"
	"os"
	"sync"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/progress"
)

// tailSize is how much of a failing command's output its error carries, in bytes.
const tailSize = 16 << 10

// output passes on what a command prints and remembers the end of it.
type output struct {
	stdout, stderr *os.File
	readers        sync.WaitGroup
	mu             sync.Mutex
	tail           []byte
}

// newOutput reads what a command prints in the order in which it is printed: both
// of the command's files are one pipe, and all is of stream 1. Apart, each stream
// has a pipe of its own, and nothing tells which of two was written to first.
func newOutput(apart bool, pass func(stream int, data []byte)) (*output, error) {
	o := &output{}
	var err error
	if o.stdout, err = o.pipe(1, pass); err != nil {
		return nil, err
	}
	o.stderr = o.stdout
	if !apart {
		return o, nil
	}
	if o.stderr, err = o.pipe(2, pass); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *output) pipe(stream int, pass func(int, []byte)) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.readers.Add(1)
	go o.read(r, stream, pass)
	return w, nil
}

func (o *output) read(r *os.File, stream int, pass func(int, []byte)) {
	defer o.readers.Done()
	defer r.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			data := bytes.Clone(buf[:n])
			o.keep(data)
			pass(stream, data)
		}
		if err != nil {
			return
		}
	}
}

func (o *output) keep(data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, data...)
	if over := len(o.tail) - tailSize; over > 0 {
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
}

// close ends the output once the command's ends of the pipes are closed too,
// and returns the last of it.
func (o *output) close() []byte {
	for _, f := range []*os.File{o.stdout, o.stderr} {
		if f != nil {
			f.Close()
		}
	}
	o.readers.Wait()
	return o.tail
}

func (s *Solver) log(step *graph.Step, stream int, data []byte) {
	s.event(step, progress.Event{Kind: "log", Stream: stream, Data: data})
}
