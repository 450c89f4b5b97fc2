// Package kept keeps flat trees, for where no overlay can be mounted: a step works
// in a directory in which all its layers are merged, and what it changed is found
// by looking at every file before and after.
//
// [Manager.Prepare] gives out the tree of some layers. A step's tree is not copied
// for the next one: [Tree.Adopt] makes it the tree of the layers with the new one
// on top, and it waits there for whoever comes first. Another step that builds on
// the same layers gets a tree of its own, unpacked from their blobs.
//
// What a step is to find at some place for as long as it runs is moved there by
// [Tree.Put], and [Tree.Restore] moves it back. A tree that a dead process was
// working in is never used again; what was lent to it is returned first.
//
// The process must be root, be it of a user namespace, and may have nothing but the
// capabilities of a Docker container. Linux only.
package kept
