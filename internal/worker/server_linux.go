package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
)

// server answers the requests of one client.
type server struct {
	conn  *conn
	dir   *cache.Dir
	store *faces.Store
	trees trees
	how   string         // trees are made, to people
	temp  *snapshot.Temp // of what makes the trees
	work  sync.WaitGroup
	owned bool // there is one id only, and owners stand in attributes

	wholes *kept.Manager // the same as trees on rung chroot, else nil
	alone  sync.Mutex    // of the one step that may run, in mode chroot on some kernels
	hinted atomic.Bool   // a step that failed was told what the rung does not have

	emulation emulation
	runtime   *bundle.Runtime // which runs all commands; nil for none

	mu      sync.Mutex
	running map[uint64]*task
	ended   map[uint64]changes // executions neither committed nor discarded
}

// task is a request that is being worked on.
type task struct {
	s      *server
	m      *message
	files  []*os.File
	cancel context.CancelFunc

	mu   sync.Mutex
	proc *sandbox.Process // of an exec, while it runs
	kept []syscall.Signal // signals that came before it ran
}

func newServer(c *conn, dir *cache.Dir, store *faces.Store) *server {
	return &server{conn: c, dir: dir, store: store, running: map[uint64]*task{}, ended: map[uint64]changes{}}
}

// serve works until the client has gone, and then puts everything away.
func (s *server) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	for {
		m, files, err := s.conn.receive()
		if err != nil {
			break
		}
		switch m.Kind {
		case kindCancel:
			s.withTask(m.Target, func(t *task) { t.cancel() })
		case kindSignal:
			var n int
			if json.Unmarshal(m.Body, &n) == nil {
				s.withTask(m.Target, func(t *task) { t.signal(syscall.Signal(n)) })
			}
		default:
			s.begin(ctx, m, files)
			continue
		}
		closeAll(files)
	}
	cancel()
	s.work.Wait()
	s.store.Wait()
	for _, c := range s.ended {
		_ = c.close() // nobody is left to be told; the next manager sweeps
	}
	_ = s.trees.close() // likewise
}

func (s *server) withTask(id uint64, f func(*task)) {
	s.mu.Lock()
	t := s.running[id]
	s.mu.Unlock()
	if t != nil {
		f(t)
	}
}

func (s *server) begin(ctx context.Context, m *message, files []*os.File) {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{s: s, m: m, files: files, cancel: cancel}
	s.mu.Lock()
	s.running[m.ID] = t
	s.mu.Unlock()
	s.work.Go(func() {
		defer cancel()
		answer := t.run(ctx)
		answer.ID, answer.Last = m.ID, true
		s.mu.Lock()
		delete(s.running, m.ID)
		s.mu.Unlock()
		_ = s.conn.send(answer) // a client that has gone is noticed by serve
	})
}

// handlers do the requests.
var handlers = map[string]func(*task, context.Context) (any, error){
	kindExec:    (*task).exec,
	kindCommit:  (*task).commit,
	kindDiscard: (*task).discard,
	kindRemove:  (*task).remove,
	kindTrees:   (*task).trees,
	kindRenew:   (*task).renew,
}

// run does the request; a panic is an error of this request only.
func (t *task) run(ctx context.Context) (answer *message) {
	answer = &message{}
	defer func() {
		closeAll(t.files)
		if p := recover(); p != nil {
			answer.Error = fmt.Sprintf("worker: panic in %s: %v", t.m.Kind, p)
			answer.Debug = fmt.Sprintf("%s\n%s", answer.Error, debug.Stack())
		}
	}()
	do := handlers[t.m.Kind]
	if do == nil {
		answer.Error = fmt.Sprintf("worker: unknown request %q", t.m.Kind)
		return answer
	}
	body, err := do(t, ctx)
	if err == nil && body != nil {
		answer.Body, err = json.Marshal(body)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer
}

func (t *task) decode(v any) error {
	if err := json.Unmarshal(t.m.Body, v); err != nil {
		return fmt.Errorf("worker: request %s: %w", t.m.Kind, err)
	}
	return nil
}

func (t *task) discard(context.Context) (any, error) {
	t.s.mu.Lock()
	left := t.s.ended[t.m.Target]
	delete(t.s.ended, t.m.Target)
	t.s.mu.Unlock()
	return nil, left.close()
}

// commit answers twice: with the DiffID, and with the finished layer.
func (t *task) commit(ctx context.Context) (any, error) {
	var c committing
	if err := t.decode(&c); err != nil {
		return nil, err
	}
	snap, err := t.s.takeEnded(t.m.Target, c.Target)
	if err != nil {
		return nil, err
	}
	defer func() { _ = snap.Close() }()
	l, err := t.s.create(ctx, c.Previous, snap)
	if err != nil {
		return nil, err
	}
	// Before anybody hears of the layer, so that the next step finds the tree.
	if _, err := snap.Adopt(l.DiffID); err != nil {
		return nil, err
	}
	body, err := json.Marshal(committed{DiffID: l.DiffID})
	if err != nil {
		return nil, err
	}
	if err := t.s.conn.send(&message{ID: t.m.ID, Body: body}); err != nil {
		return nil, err
	}
	desc, err := l.Descriptor(ctx)
	if err != nil {
		return nil, err
	}
	return cache.Layer{
		DiffID: l.DiffID, Digest: desc.Digest, Size: desc.Size,
		MediaType: desc.MediaType, Annotations: desc.Annotations,
	}, nil
}

// remove takes files out of the store.
func (t *task) remove(ctx context.Context) (any, error) {
	var r removal
	if err := t.decode(&r); err != nil {
		return nil, err
	}
	// A Root, because the paths lead through directories that steps have filled.
	root, err := os.OpenRoot(t.s.dir.Path())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, p := range r.Paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := root.RemoveAll(p); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
