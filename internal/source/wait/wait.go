// Package wait holds how ocibuild waits for the network: a request that fails
// is made again a bounded number of times, a server that is silent is given up,
// and whoever watches the build is told what is being waited for.
//
// The listener travels in the context ([With]), because one set of connections
// may serve several builds.
package wait

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// DefaultRetries with DefaultDelay take about half a minute.
	DefaultRetries = 8
	// DefaultDelay is the first pause between two tries; each next one is twice as long.
	DefaultDelay = 250 * time.Millisecond
	// Budget bounds the time of all tries of one request, unless the policy was
	// chosen.
	Budget = 2 * time.Minute

	maxDelay = 8 * time.Second
	maxAsked = 30 * time.Second // the longest pause that a server can ask for

	firstNotice = 5 * time.Second
	noticeEvery = 15 * time.Second
)

type listener struct{}

// With returns a context whose waits are told to say.
func With(ctx context.Context, say func(text string)) context.Context {
	return context.WithValue(ctx, listener{}, say)
}

// Say tells the listener of ctx, if there is one.
func Say(ctx context.Context, format string, args ...any) {
	if say, ok := ctx.Value(listener{}).(func(string)); ok && ctx.Err() == nil {
		say(fmt.Sprintf(format, args...))
	}
}

// Policy says how often a request that failed is made again.
type Policy struct {
	Retries int           // 0 means DefaultRetries, a negative number none
	Delay   time.Duration // before the first retry; 0 means DefaultDelay
}

// Tries are the tries of one request.
type Tries struct {
	Label string // what the cause does not say, such as the host; it is said before it

	policy Policy
	began  time.Time
	made   int // that failed
}

// Begin starts counting.
func (p Policy) Begin() *Tries { return &Tries{policy: p, began: time.Now()} }

// Failed waits for the next try and returns nil when it is due. Otherwise it
// returns the final error: the end of ctx, or cause with how long it was tried.
// asked is how long the server wants us to wait.
func (t *Tries) Failed(ctx context.Context, cause error, asked time.Duration) error {
	retries := t.policy.Retries
	if retries == 0 {
		retries = DefaultRetries
	}
	pause := t.pause(asked)
	t.made++
	spent := t.policy == Policy{} && time.Since(t.began)+pause > Budget
	if t.made > retries || spent {
		return t.final(cause)
	}
	said := cause.Error()
	if t.Label != "" {
		said = t.Label + ": " + said
	}
	if asked > pause {
		Say(ctx, "%s; it asks to wait %s; next try in %s (%d of %d)", said, round(asked), round(pause), t.made, retries)
	} else {
		Say(ctx, "%s; next try in %s (%d of %d)", said, round(pause), t.made, retries)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Tries) pause(asked time.Duration) time.Duration {
	d := t.policy.Delay
	if d == 0 {
		d = DefaultDelay
	}
	most := max(d, maxDelay)
	for n := 0; n < t.made && d < most; n++ {
		d = min(2*d, most)
	}
	return max(d/2+rand.N(d), min(asked, maxAsked))
}

func (t *Tries) final(cause error) error {
	if t.made < 2 {
		return cause
	}
	return fmt.Errorf("%w (given up after %d tries in %s)", cause, t.made, round(time.Since(t.began)))
}

// round drops the digits nobody reads.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// StalledError is a server that was silent for too long.
type StalledError struct {
	What string // that was waited for
	For  time.Duration
}

// Error implements error.
func (e *StalledError) Error() string {
	return fmt.Sprintf("%s did not come for %s", e.What, round(e.For))
}

// Timeout makes it a net.Error's kind of timeout.
func (e *StalledError) Timeout() bool { return true }

// Watch tells of a wait that takes long, and ends one that takes too long. It
// is safe for concurrent use.
type Watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	limit  time.Duration

	mu    sync.Mutex
	what  string
	since time.Time // zero: nobody waits
	next  time.Duration
	timer *time.Timer
}

// Start begins to wait for what. The context that it returns is canceled with
// a *StalledError once the wait took as long as limit; 0 means no limit.
func Start(ctx context.Context, what string, limit time.Duration) (context.Context, *Watch) {
	w := &Watch{limit: limit, what: what, since: time.Now(), next: firstNotice}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.mu.Lock()
	w.timer = time.AfterFunc(w.due(0), w.look)
	w.mu.Unlock()
	return w.ctx, w
}

// due is how long after the beginning of a wait, which is that old now, there
// is something to do.
func (w *Watch) due(idle time.Duration) time.Duration {
	d := w.next
	if w.limit > 0 {
		d = min(d, w.limit)
	}
	return max(d-idle, time.Millisecond)
}

func (w *Watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	idle := time.Duration(0)
	if !w.since.IsZero() {
		idle = time.Since(w.since)
	}
	switch {
	case w.limit > 0 && idle >= w.limit:
		w.cancel(&StalledError{What: w.what, For: idle})
		return
	case idle >= w.next:
		Say(w.ctx, "waiting for %s: %s", w.what, round(idle))
		w.next += noticeEvery
	}
	w.timer.Reset(w.due(idle))
}

// Wait begins another wait, for what; empty means what it was before.
func (w *Watch) Wait(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if what != "" {
		w.what = what
	}
	w.since, w.next = time.Now(), firstNotice
}

// Pause says that what was waited for is there.
func (w *Watch) Pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since, w.next = time.Time{}, firstNotice
}

// Limit changes how long a wait may take.
func (w *Watch) Limit(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = limit
	if w.timer != nil {
		w.timer.Reset(w.due(0))
	}
}

// Stop ends the watch and its context.
func (w *Watch) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.cancel(nil)
}

// Cause returns the *StalledError behind err, if there is one, or err.
func (w *Watch) Cause(err error) error {
	var stalled *StalledError
	if err != nil && errors.As(context.Cause(w.ctx), &stalled) {
		return stalled
	}
	return err
}
