// Package snapshot unpacks layers into trees and lays a writable directory
// over them.
//
// A [Manager] keeps one tree for each layer in the store, shared by all images
// and all processes: [Manager.Ensure] makes the missing ones, each under
// another name first and checked against its DiffID. [Manager.Prepare] mounts
// an overlay over some of them; [Snapshot.Diff] writes what was changed in it as
// a layer, and [Snapshot.Adopt] makes the changed directory that layer's tree,
// so that what a build step wrote is never written again.
//
// The process must own a private mount namespace and be root in it, be it in a
// user namespace. Linux only; elsewhere NewManager tells so.
package snapshot

import "github.com/opencontainers/go-digest"

// Flavour is the form in which trees hold what concerns overlayfs. Trees of
// one flavour cannot serve another, so it is part of their path.
type Flavour string

// The flavours.
const (
	Trusted Flavour = "trusted" // attributes trusted.overlay.*: real root
	User    Flavour = "user"    // attributes user.overlay.*: a user namespace
	Owned   Flavour = "owned"   // owners in attributes, too: one with a single id
)

// Ground is what lies below all layers of a snapshot: where an image lacks a
// place to mount on, it shows through from there, so that no step has to make
// it and take it away again. Nothing of it is ever part of a difference.
type Ground string

// The grounds.
const (
	Bare      Ground = "bare"      // nothing
	Root      Ground = "root"      // /proc, /sys and /dev
	Networked Ground = "networked" // these, /etc/hosts and /etc/resolv.conf
)

// MaxLayers is the largest number of layers of an overlay: those of one mount, and
// those of another one that is the lowest layer of the first.
const MaxLayers = 2*maxLowers - 2

// maxLowers is the largest number of directories that one overlay shows. The kernel
// stops at 500.
const maxLowers = 450

// Layer is a layer whose blob is in a local file.
type Layer struct {
	DiffID    digest.Digest `json:"diffID"`
	Blob      string        `json:"blob"` // path
	MediaType string        `json:"mediaType"`
	Origin    string        `json:"origin,omitempty"` // the "registry/repository" it came from, for errors
}
