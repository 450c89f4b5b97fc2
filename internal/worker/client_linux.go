package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// closeTime is how long a worker may take to put things away before it is killed
// and leaves that to the next one: on a busy machine, a tree of many thousand files
// takes a while.
const closeTime = time.Minute

// Client speaks to one worker. It is safe for concurrent use.
type Client struct {
	// Isolation is the rung the worker stands on, and Trees says how it makes the
	// trees that steps work in.
	Isolation, Trees string

	options Options
	store   func() (*cache.Dir, error) // for what only some steps need
	conn    *conn
	proc    *process

	mu      sync.Mutex
	next    uint64
	calls   map[uint64]chan *message
	gone    error // why there will be no more answers
	closing bool  // the worker puts things away: its silence is no reason to kill it
}

func newClient(o Options, c *conn, p *process) *Client {
	w := &Client{options: o, conn: c, proc: p, calls: map[uint64]chan *message{}}
	w.store = sync.OnceValues(func() (*cache.Dir, error) { return cache.OpenDir(o.Store) })
	go w.listen()
	return w
}

// listen gives answers to those who wait, until the worker is gone.
func (c *Client) listen() {
	for {
		m, files, err := c.conn.receive()
		if err != nil {
			c.fail(c.ended(err))
			return
		}
		closeAll(files)
		if m.Debug != "" && c.options.Debug != nil {
			c.options.Debug(m.Debug)
		}
		c.mu.Lock()
		answers := c.calls[m.ID]
		if m.Last {
			delete(c.calls, m.ID)
		}
		c.mu.Unlock()
		if answers != nil {
			select {
			case answers <- m:
			default: // more answers than were agreed: not a worker of ours
			}
		}
	}
}

// ended explains why the worker says no more, when it has ended.
func (c *Client) ended(cause error) error {
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	if closing {
		<-c.proc.ended // in its own time, which Close limits
		return fmt.Errorf("worker is closed (%w)", cause)
	}
	return c.proc.death(cause)
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = err
	for id, answers := range c.calls {
		delete(c.calls, id)
		close(answers)
	}
}

// call is a request that is under way.
type call struct {
	c       *Client
	id      uint64
	answers chan *message
}

func (c *Client) call(m *message, body any, files ...*os.File) (*call, error) {
	var err error
	if m.Body, err = json.Marshal(body); err != nil {
		return nil, err
	}
	k := &call{c: c, answers: make(chan *message, 2)}
	c.mu.Lock()
	if c.gone != nil {
		c.mu.Unlock()
		return nil, c.gone
	}
	c.next++
	k.id = c.next
	c.calls[k.id] = k.answers
	c.mu.Unlock()
	m.ID = k.id
	if err := c.conn.send(m, files...); err != nil {
		return nil, c.ended(err)
	}
	return k, nil
}

// answer waits for the next answer and decodes it into v. When ctx ends it asks
// the worker to stop and still waits: afterwards nothing of the request is left.
func (k *call) answer(ctx context.Context, v any) error {
	done := ctx.Done()
	for {
		select {
		case <-done:
			done = nil
			_ = k.c.conn.send(&message{Kind: kindCancel, Target: k.id}) // a dead worker answers for itself
		case m, ok := <-k.answers:
			switch {
			case !ok:
				return k.c.gone
			case m.Error != "" && ctx.Err() != nil:
				return context.Cause(ctx)
			case m.Error != "":
				return errors.New(m.Error)
			case v == nil || len(m.Body) == 0:
				return nil
			}
			return json.Unmarshal(m.Body, v)
		}
	}
}

// Exec runs a step and returns when every process of it is dead. A command that
// ends with an exit code other than zero is no error. A [*MissingError] asks for
// blobs, and to be called again. When ctx ends the step is killed. The caller must call Commit or Discard of the Execution.
func (c *Client) Exec(ctx context.Context, r *Request, stdio sandbox.Stdio) (x *Execution, err error) {
	r, sockets, err := c.sockets(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := closeSockets(sockets); cerr != nil && err == nil {
			err = errors.Join(cerr, x.Discard())
		}
	}()
	m := &message{Kind: kindExec}
	var files []*os.File
	for i, f := range []*os.File{stdio.Stdin, stdio.Stdout, stdio.Stderr} {
		if f != nil {
			m.Files = append(m.Files, i)
			files = append(files, f)
		}
	}
	k, err := c.call(m, r, files...)
	if err != nil {
		return nil, err
	}
	if r.Signals != nil {
		stop := make(chan struct{})
		defer close(stop)
		go k.forward(r.Signals, stop)
	}
	var o outcome
	if err := k.answer(ctx, &o); err != nil {
		return nil, err
	}
	if o.Missing != nil {
		return nil, &MissingError{o.Missing}
	}
	return &Execution{ExitCode: o.ExitCode, Reason: o.Reason, Exceeded: o.Exceeded, Hint: o.Hint, c: c, id: k.id}, nil
}

func (k *call) forward(signals <-chan os.Signal, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case sig, ok := <-signals:
			if !ok {
				return
			}
			if n, ok := sig.(syscall.Signal); ok {
				body, _ := json.Marshal(int(n)) // an int
				_ = k.c.conn.send(&message{Kind: kindSignal, Target: k.id, Body: body})
			}
		}
	}
}

// Execution is a step that has ended, with the changes it made.
type Execution struct {
	ExitCode int
	// Reason says why the command could not be executed (127, 126); else empty.
	Reason string
	// Exceeded says which of its limits the step ran into, or is empty.
	Exceeded string
	// Hint says what a command that failed may have missed on this rung. It is
	// said once.
	Hint string

	c  *Client
	id uint64
}

// Commit makes a layer of what the step changed. It returns when the layer's
// DiffID is known, its table of contents is in the store and its tree is ready
// for the next step; compression goes on. previous is an older, similar layer
// whose compressed parts may be copied; zero for none.
func (e *Execution) Commit(ctx context.Context, previous cache.Layer) (*Commit, error) {
	return e.commit(ctx, committing{Previous: previous})
}

// CommitMount is Commit for a bind mount with Keep.
func (e *Execution) CommitMount(ctx context.Context, target string, previous cache.Layer) (*Commit, error) {
	return e.commit(ctx, committing{Previous: previous, Target: target})
}

func (e *Execution) commit(ctx context.Context, what committing) (*Commit, error) {
	k, err := e.c.call(&message{Kind: kindCommit, Target: e.id}, what)
	if err != nil {
		return nil, err
	}
	var first committed
	if err := k.answer(ctx, &first); err != nil {
		return nil, err
	}
	commit := &Commit{DiffID: first.DiffID, done: make(chan struct{})}
	go func() {
		defer close(commit.done)
		commit.err = k.answer(context.Background(), &commit.layer)
	}()
	return commit, nil
}

// Discard drops the changes that are not committed.
func (e *Execution) Discard() error {
	k, err := e.c.call(&message{Kind: kindDiscard, Target: e.id}, nil)
	if err != nil {
		return err
	}
	return k.answer(context.Background(), nil)
}

// Commit is a layer whose blob may still be in the making.
type Commit struct {
	DiffID digest.Digest

	done  chan struct{} // closed when layer and err are set
	layer cache.Layer
	err   error
}

// Wait returns when the layer's blob and table of contents are in the store.
func (c *Commit) Wait(ctx context.Context) (cache.Layer, error) {
	select {
	case <-c.done:
		return c.layer, c.err
	case <-ctx.Done():
		return cache.Layer{}, context.Cause(ctx)
	}
}

// RemoveAll removes files of the store. Files of other users than root inside a
// user namespace can be removed by nobody else.
func (c *Client) RemoveAll(ctx context.Context, paths []string) error {
	var r removal
	for _, p := range paths {
		rel, err := filepath.Rel(c.options.Store, p)
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			return fmt.Errorf("%s is not in the store %s", p, c.options.Store)
		}
		r.Paths = append(r.Paths, rel)
	}
	k, err := c.call(&message{Kind: kindRemove}, r)
	if err != nil {
		return err
	}
	return k.answer(ctx, nil)
}

// Close ends the worker. Steps that run are killed, compressions are given up.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	// The worker takes the end of the connection for an order to put things away.
	err := c.conn.u.CloseWrite()
	select {
	case <-c.proc.ended:
	case <-time.After(closeTime):
		err = errors.Join(fmt.Errorf("worker did not end in %s", closeTime), c.proc.kill())
		<-c.proc.ended
	}
	return errors.Join(err, c.conn.u.Close())
}
