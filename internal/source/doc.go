// Package source is where files come from outside: base images, in the local
// store or a registry, and the directories of this machine that a build reads.
// Each kind is a file of its own. Finding a source reads no more than its
// description: an image's manifest and config, a directory's names. Nothing of
// a directory is followed out of it.
package source
