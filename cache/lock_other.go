//go:build !linux

package cache

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/gofrs/flock"
)

// tryLock locks a file of that name.
func (d *Dir) tryLock(name string) (func(), bool, error) {
	sum := sha256.Sum256([]byte(name))
	f := flock.New(d.sub("locks", hex.EncodeToString(sum[:16])))
	ok, err := f.TryLock()
	if err != nil || !ok {
		return nil, false, err
	}
	return func() { _ = f.Close() }, true, nil
}
