package cache

import (
	"context"
	"fmt"
	"time"
)

// lockPoll is how often a waiter looks again; the locks of the system cannot
// be waited for with a context.
const lockPoll = 10 * time.Millisecond

// Lock takes the exclusive lock of that name, waiting for other processes and
// goroutines that hold it. The caller must call unlock. A lock ends with the
// process that holds it.
func (d *Dir) Lock(ctx context.Context, name string) (unlock func(), err error) {
	var tick *time.Ticker
	for {
		unlock, ok, err := d.TryLock(name)
		if ok || err != nil {
			return unlock, err
		}
		if tick == nil {
			tick = time.NewTicker(lockPoll)
			defer tick.Stop()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
		}
	}
}

// TryLock is Lock without waiting; ok tells whether the lock was free.
func (d *Dir) TryLock(name string) (unlock func(), ok bool, err error) {
	unlock, ok, err = d.locks.Try(name)
	if err != nil {
		err = fmt.Errorf("lock %s: %w", name, err)
	}
	return unlock, ok, err
}

// LockKind says by what kind of lock processes share the store.
func (d *Dir) LockKind() (string, error) { return d.locks.Kind() }
