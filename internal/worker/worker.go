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
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/forward"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/layer"
)

// The rungs of isolation that a worker can stand on.
const (
	IsolationRoot         = "root"          // real root with mount rights
	IsolationUserns       = "userns"        // an ordinary user with subordinate ids
	IsolationUsernsSingle = "userns-single" // an ordinary user, whose other ids package notify makes up
	IsolationChroot       = "chroot"        // root with the rights of a Docker container: no security boundary
	IsolationNone         = "none"          // no commands are run
)

// Options directs Start.
type Options struct {
	// Store is the directory of the local store.
	Store string
	// Isolation names a rung; empty takes the best one that works.
	Isolation string
	// Runtime is the name or the path of an OCI runtime that is to run the
	// commands; empty for the sandbox of our own.
	Runtime string
	// Program is the absolute path of a program that imports this package, to be the
	// worker; empty for this one.
	Program string
	// Limits bounds the layers that are unpacked.
	Limits layer.Limits
	// Debug is told what a developer wants to know and nobody else: stacks of
	// panics in the worker. Nil drops it.
	Debug func(string)
}

// Request is one step.
type Request struct {
	// Layers is what the step sees, lowest first. Their blobs are local.
	Layers []snapshot.Layer
	// Spec is the command. Rootfs, Mounts, Emulators, Owners and Runtime are
	// filled in by the worker.
	Spec sandbox.Spec
	// Arch is the processor of the layers' programs, as Go and OCI call it; empty
	// means this machine's.
	Arch   string
	Mounts []Mount
	// Signals are forwarded to the command while it runs; nil for none.
	Signals <-chan os.Signal `json:"-"`
}

// MountType is a kind of mount of a step.
type MountType string

// The kinds of mounts.
const (
	MountBind   MountType = "bind"   // files of Layers; writes are dropped, but for Keep
	MountCache  MountType = "cache"  // a directory that outlives the step
	MountTmpfs  MountType = "tmpfs"  // an empty directory in memory
	MountSecret MountType = "secret" // Data as a file in memory
	MountSSH    MountType = "ssh"    // a socket behind which is Serve
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
	// Keep makes what the step changes of a bind mount a matter of CommitMount.
	Keep bool
	// Selector is the path in Layers; empty means their root.
	Selector string
	CacheID  string
	Seed     string // tells caches of one id apart that begin with other Layers
	Sharing  Sharing
	// Mode, UID and GID are those of a new cache directory, of a tmpfs, of a
	// secret or of a socket. Mode zero means 0755, 01777, 0400 and 0600.
	Mode     uint32
	UID, GID int
	Size     int64  // of a tmpfs in bytes; 0 means the kernel's default
	Data     []byte // of a secret
	Source   string // absolute path of a host mount
	// Serve speaks with the processes of the step that connect to a socket. It is
	// called in the client's process: the worker only shows them the way.
	Serve forward.Serve `json:"-"`
}

// outcome is what the worker says about a step that has ended.
type outcome struct {
	ExitCode int
	Reason   string
	Exceeded string
	Hint     string
	Missing  []digest.Digest // layers of which the blobs are needed; then nothing was run
}

// MissingError tells that a step needs blobs of layers of which HasTrees said
// that it does not: somebody else has taken the tree.
type MissingError struct{ DiffIDs []digest.Digest }

// Error names the layers.
func (e *MissingError) Error() string {
	return fmt.Sprintf("the blobs of the layers %v are needed", e.DiffIDs)
}

// committing asks for a layer of an execution's changes.
type committing struct {
	Previous cache.Layer
	Target   string // of the mount; empty means the root
}

// committed is the first answer to it; a cache.Layer is the second.
type committed struct {
	DiffID digest.Digest
}

// Probed is what is known of a rung after it was tried.
type Probed struct {
	Isolation string
	Default   bool   // Start takes it if no rung is named
	Trees     string // how trees are made there
	Err       error  // why it cannot be had
	Hint      string // what may help, or ""
}

// welcome is the answer to the first message.
type welcome struct {
	Trees string
}

// greeting is the first message to a worker.
type greeting struct {
	Protocol  int
	Store     string
	Isolation string
	Limits    layer.Limits
	Runtime   string // absolute path; empty for none
	Path      string // of the client's environment, to find emulators on
}

// renewal asks for caches to begin anew.
type renewal struct {
	CacheIDs []string
}

// removal asks for the removal of files of the store.
type removal struct {
	Paths []string // relative to the store
}
