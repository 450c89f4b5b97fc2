//go:build !linux

package filelock

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

	"github.com/gofrs/flock"
)

var kinds = []kind{{"one file for each name", tryNamed}}

func unsupported(error) bool { return false }

// tryNamed locks a file of that name.
func tryNamed(dir, name string) (func(), bool, error) {
	sum := sha256.Sum256([]byte(name))
	f := flock.New(filepath.Join(dir, hex.EncodeToString(sum[:16])))
	ok, err := f.TryLock()
	if err != nil || !ok {
		return nil, false, err
	}
	return func() { _ = f.Close() }, true, nil
}
