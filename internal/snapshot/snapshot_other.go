//go:build !linux

package snapshot

import (
	"context"
	"errors"

	"github.com/ocibuild/ocibuild/cache"
)

var errLinux = errors.New("unpacking layers into trees needs Linux")

// Manager is there on Linux only.
type Manager struct{}

// NewManager says that trees need Linux.
func NewManager(*cache.Dir, Flavour) (*Manager, error) { return nil, errLinux }

// Ensure says that trees need Linux.
func (*Manager) Ensure(context.Context, []Layer) ([]string, error) { return nil, errLinux }
