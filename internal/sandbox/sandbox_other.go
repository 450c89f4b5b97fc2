//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"os"
	"runtime"
)

var errLinux = errors.New("a sandbox needs Linux namespaces, and this is " + runtime.GOOS)

// Process is a running step.
type Process struct{}

// Start returns an error: sandboxes exist on Linux only.
func Start(context.Context, *Spec, Stdio) (*Process, error) { return nil, errLinux }

// LookupUser returns an error: sandboxes exist on Linux only.
func LookupUser(string, string) (*Identity, error) { return nil, errLinux }

// Signal returns an error: sandboxes exist on Linux only.
func (*Process) Signal(os.Signal) error { return errLinux }

// Exceeded returns "": sandboxes exist on Linux only.
func (*Process) Exceeded() string { return "" }

// Kill returns an error: sandboxes exist on Linux only.
func (*Process) Kill() error { return errLinux }

// Wait returns an error: sandboxes exist on Linux only.
func (*Process) Wait() (int, error) { return -1, errLinux }
