// Package output writes finished images: into an OCI layout, into an archive,
// or to a registry. Each output is a [Sink].
package output
