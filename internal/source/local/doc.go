// Package local reads the directories of this machine that a build is made of:
// build contexts, what their ignore files leave of them, and the digests that
// are known of their files. Nothing of a directory is followed out of it.
package local
