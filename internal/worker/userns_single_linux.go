package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/owner"
	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
)

// startUsernsSingle starts the worker in a user namespace whose one id is root
// inside and the user outside. That takes no right and no help of anybody.
func startUsernsSingle(ctx context.Context, o Options) (*Client, error) {
	if err := notify.Supported(); err != nil {
		return nil, err
	}
	p, c, err := spawn(o, &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	})
	if err != nil {
		return nil, err
	}
	return greet(ctx, newClient(o, c, p), IsolationUsernsSingle)
}

func usernsSingleHint(err error) string {
	if errors.Is(err, unix.ENOTSUP) {
		return "; put the store on a file system that keeps extended attributes, such as ext4, xfs or btrfs"
	}
	return usernsHint(err)
}

// probeOwners sets and reads owners in the store, on which everything rests.
func probeOwners(store *cache.Dir) error {
	dir, err := store.TempDir("owners-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		return err
	}
	want := owner.Owner{UID: 65534, GID: 42}
	for _, path := range []string{dir, link} {
		if err := owner.Set(path, false, want); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if got, err := owner.Get(path, false); err != nil || got != want {
			return fmt.Errorf("store: an owner that was kept is another: %s, %w", got, errors.Join(err, unix.ENOTSUP))
		}
	}
	return nil
}

// chown gives a file of the store to a user of steps.
func (s *server) chown(path string, uid, gid int) error {
	if !s.owned {
		return os.Lchown(path, uid, gid)
	}
	err := owner.Set(path, false, owner.Owner{UID: uint32(uid), GID: uint32(gid)})
	if err != nil {
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}

// ownerOf is whom an open file belongs to, of which st is known.
func (s *server) ownerOf(fd int, st *unix.Stat_t) (uid, gid int, err error) {
	if !s.owned {
		return int(st.Uid), int(st.Gid), nil
	}
	o, err := owner.Get(fmt.Sprintf("/proc/self/fd/%d", fd), true)
	return int(o.UID), int(o.GID), err
}

// copyOwner copies the attribute of a file that has one.
func copyOwner(from, to string) error {
	o, err := owner.Get(from, false)
	if err != nil || o == (owner.Owner{}) {
		return err
	}
	return owner.Set(to, false, o)
}
