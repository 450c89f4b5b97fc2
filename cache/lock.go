package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a waiter looks again; flock itself cannot be cancelled.
const lockPoll = 20 * time.Millisecond

// Lock takes the exclusive lock of that name, waiting for other processes and
// goroutines that hold it. The caller must call unlock.
func (d *Dir) Lock(ctx context.Context, name string) (unlock func(), err error) {
	if unlock, ok, err := d.TryLock(name); ok || err != nil {
		return unlock, err
	}
	f := flock.New(d.lockPath(name))
	if _, err := f.TryLockContext(ctx, lockPoll); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { _ = f.Close() }, nil
}

// TryLock is Lock without waiting; ok tells whether the lock was free.
func (d *Dir) TryLock(name string) (unlock func(), ok bool, err error) {
	f := flock.New(d.lockPath(name))
	ok, err = f.TryLock()
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	if !ok {
		return nil, false, nil
	}
	return func() { _ = f.Close() }, true, nil
}

func (d *Dir) lockPath(name string) string {
	sum := sha256.Sum256([]byte(name))
	return d.sub("locks", hex.EncodeToString(sum[:16]))
}
