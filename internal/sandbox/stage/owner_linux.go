package stage

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
)

// supervise makes the process at the other end of ownersFD answer the calls of
// this thread, and of all that comes from it.
func supervise(filter []byte) error {
	if len(filter) == 0 {
		return nil
	}
	listener, err := notify.Install(filter)
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	return notify.Send(ownersFD, listener)
}

// setOwner gives a file, open or a handle, to a user. noted tells that there is
// one id only, and that owners stand in attributes.
func setOwner(fd int, uid, gid uint32, noted bool) error {
	if !noted {
		return unix.Fchownat(fd, "", int(uid), int(gid), unix.AT_EMPTY_PATH)
	}
	err := owner.Set("/proc/self/fd/"+strconv.Itoa(fd), true, owner.Owner{UID: uid, GID: gid})
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil // a file system without attributes, where chown of a step does nothing either
	}
	return err
}
