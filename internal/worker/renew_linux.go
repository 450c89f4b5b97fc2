package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/ocibuild/ocibuild/internal/filelock"
)

// RenewCaches makes cache mounts begin anew, whatever they began with. Steps
// that use one meanwhile keep what they have.
func (c *Client) RenewCaches(ctx context.Context, cacheIDs []string) error {
	k, err := c.call(&message{Kind: kindRenew}, renewal{CacheIDs: cacheIDs})
	if err != nil {
		return err
	}
	return k.answer(ctx, nil)
}

// outdated begins the names of directories that no cache has any more.
const outdated = "outdated-"

// renewals numbers the directories that this process has outdated.
var renewals atomic.Uint64

func (t *task) renew(context.Context) (any, error) {
	var r renewal
	if err := t.decode(&r); err != nil {
		return nil, err
	}
	mounts := t.s.dir.MountsPath()
	entries, err := os.ReadDir(mounts)
	if err != nil {
		return nil, err
	}
	for _, id := range r.CacheIDs {
		for _, e := range entries {
			name, rest, _ := strings.Cut(e.Name(), "-")
			if name != cacheName(id) {
				continue
			}
			to := fmt.Sprintf("%s%d-%d-%s", outdated, os.Getpid(), renewals.Add(1), rest)
			err := os.Rename(filepath.Join(mounts, e.Name()), filepath.Join(mounts, to))
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: renewed by another process
				return nil, fmt.Errorf("renew cache %q: %w", id, err)
			}
		}
	}
	return nil, t.s.removeOutdated()
}

// removeOutdated removes the outdated directories that no step uses, those of
// earlier renewals too.
func (s *server) removeOutdated() error {
	mounts := s.dir.MountsPath()
	entries, err := os.ReadDir(mounts)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), outdated) {
			err = errors.Join(err, removeUnused(filepath.Join(mounts, e.Name())))
		}
	}
	return err
}

func removeUnused(path string) error {
	dir, err := filelock.LockDir(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || dir == nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return os.RemoveAll(path)
}
