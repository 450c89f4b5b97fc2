//go:build !linux

package worker

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/sandbox"
)

var errLinux = errors.New("RUN needs Linux; builds without RUN work everywhere")

// Client speaks to a worker; there is none outside Linux.
type Client struct{ Isolation string }

// Start says that RUN needs Linux.
func Start(context.Context, Options) (*Client, error) { return nil, errLinux }

// Remains finds nothing outside Linux.
func Remains(*cache.Dir) bool { return false }

// Probe finds nothing outside Linux.
func Probe(context.Context, Options) []Probed { return nil }

// Isolations is empty outside Linux.
func Isolations() []string { return nil }

// Exec says that RUN needs Linux.
func (*Client) Exec(context.Context, *Request, sandbox.Stdio) (*Execution, error) {
	return nil, errLinux
}

// RemoveAll says that workers need Linux.
func (*Client) RemoveAll(context.Context, []string) error { return errLinux }

// Close does nothing.
func (*Client) Close() error { return nil }

// Execution is a step that has ended; there is none outside Linux.
type Execution struct {
	ExitCode               int
	Reason, Exceeded, Hint string
}

// Commit says that RUN needs Linux.
func (*Execution) Commit(context.Context, cache.Layer) (*Commit, error) { return nil, errLinux }

// CommitMount says that RUN needs Linux.
func (*Execution) CommitMount(context.Context, string, cache.Layer) (*Commit, error) {
	return nil, errLinux
}

// Discard says that RUN needs Linux.
func (*Execution) Discard() error { return errLinux }

// Commit is a layer in the making; there is none outside Linux.
type Commit struct{ DiffID digest.Digest }

// Wait says that RUN needs Linux.
func (*Commit) Wait(context.Context) (cache.Layer, error) { return cache.Layer{}, errLinux }

// RenewCaches says that workers need Linux.
func (*Client) RenewCaches(context.Context, []string) error { return errLinux }

// HasTrees says that workers need Linux.
func (*Client) HasTrees(context.Context, []digest.Digest) ([]bool, error) { return nil, errLinux }
