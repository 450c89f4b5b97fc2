// Package inroot opens paths inside a tree that others have made: the files of an
// image, what a build step has left, the context of a build. It is the one place
// that decides what such a path may lead through.
//
// Every path is looked up from a directory that is held open, by openat2(2), so
// that nothing which is renamed or replaced meanwhile leads anywhere else. The
// rule of a call says what becomes of symbolic links: [Within] takes the directory
// for the root of the file system, as a process does that has changed its root to
// it, [Plain] refuses all of them. Magic links, those of /proc that lead to an open
// file instead of along a path, are refused always.
//
// Where the kernel has no openat2 (before Linux 5.6), or the filter of a container
// forbids it, the same is done one part of the path at a time. That takes longer,
// and is what settles a look-up, too, that renames have disturbed too often.
//
// The last part of a path is left to the caller where something is to be made or
// removed: the directory above it comes from here, and the calls that take a
// directory and a name do the rest without following a link.
package inroot
