package worker

import (
	"cmp"
	"context"

	"github.com/ocibuild/ocibuild/internal/sandbox"
)

// tmpfs is an empty directory in memory.
func (a *attacher) tmpfs(_ context.Context, m Mount) (sandbox.Mount, error) {
	return sandbox.Mount{Type: sandbox.Tmpfs, Size: m.Size, Mode: cmp.Or(m.Mode, 0o1777), UID: m.UID, GID: m.GID}, nil
}

// secret is a file in memory: it never touches a disk.
func (a *attacher) secret(_ context.Context, m Mount) (sandbox.Mount, error) {
	return sandbox.Mount{Type: sandbox.File, Data: m.Data, ReadOnly: true, Mode: cmp.Or(m.Mode, 0o400), UID: m.UID, GID: m.GID}, nil
}
