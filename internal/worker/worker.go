// Package worker is the other process: it unpacks layers, runs build steps and
// reads their changes back, in namespaces of its own, and holds no credential.
//
// [Start] executes this same binary again; an init function of this package
// recognises it, so that a program that merely imports the builder needs no call
// in its main. [Client.Exec] runs a step over layers of the store, and
// [Execution.Commit] makes a layer of what it changed. Requests run side by side.
//
// The worker lives no longer than the process that started it. Its mounts are in
// its own namespace and vanish with it; files it leaves behind when it is killed
// are removed by the next one.
package worker

import (
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// The rungs of isolation that a worker can stand on.
const (
	IsolationRoot   = "root"   // real root with mount rights
	IsolationUserns = "userns" // an ordinary user with subordinate ids
)

// Options directs Start.
type Options struct {
	// Store is the directory of the local store.
	Store string
	// Isolation names a rung; empty takes the best one that works.
	Isolation string
	// Debug is told what a developer wants to know and nobody else: stacks of
	// panics in the worker. Nil drops it.
	Debug func(string)
}

// Request is one step.
type Request struct {
	// Layers is what the step sees, lowest first. Their blobs are local.
	Layers []snapshot.Layer
	// Spec is the command. Rootfs and Mounts are filled in by the worker.
	Spec   sandbox.Spec
	Mounts []Mount
	// Signals are forwarded to the command while it runs; nil for none.
	Signals <-chan os.Signal `json:"-"`
}

// MountType is a kind of mount of a step.
type MountType string

// The kinds of mounts.
const (
	MountBind   MountType = "bind"   // files of Layers; writes are dropped
	MountCache  MountType = "cache"  // a directory that outlives the step
	MountTmpfs  MountType = "tmpfs"  // an empty directory in memory
	MountSecret MountType = "secret" // Data as a file in memory
	MountHost   MountType = "host"   // Source, of this machine, read-only
)

// Sharing says what steps that use one cache mount at a time do.
type Sharing string

// The kinds of sharing.
const (
	SharingShared  Sharing = "shared"  // use it together; also ""
	SharingPrivate Sharing = "private" // each its own directory
	SharingLocked  Sharing = "locked"  // wait for each other
)

// Mount is one mount of a step, besides those every step has.
type Mount struct {
	Type     MountType
	Target   string
	ReadOnly bool
	// Layers is what a bind mount shows and what a new cache mount begins with.
	Layers []snapshot.Layer
	// Selector is the path in Layers; empty means their root.
	Selector string
	CacheID  string
	Sharing  Sharing
	// Mode, UID and GID are those of a new cache directory, of a tmpfs or of a
	// secret. Mode zero means 0755, 01777 and 0400.
	Mode     uint32
	UID, GID int
	Size     int64  // of a tmpfs in bytes; 0 means the kernel's default
	Data     []byte // of a secret
	Source   string // absolute path of a host mount
}

// outcome is what the worker says about a step that has ended.
type outcome struct {
	ExitCode int
	Reason   string
}

// committing asks for a layer of an execution's changes.
type committing struct {
	Previous cache.Layer
}

// committed is the first answer to it; a cache.Layer is the second.
type committed struct {
	DiffID digest.Digest
}

// greeting is the first message to a worker.
type greeting struct {
	Store     string
	Isolation string
}

// removal asks for the removal of files of the store.
type removal struct {
	Paths []string // relative to the store
}
