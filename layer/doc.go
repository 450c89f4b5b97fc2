// Package layer holds image layers as values.
//
// A [Layer] is known by its DiffID and shows itself, on demand, as a table of
// contents ([TOC]), as a compressed blob ([Blob]) or as its uncompressed tar. A
// [View] merges the tables of contents of a list of layers into one read-only
// file tree without unpacking anything. A [Writer] makes a new layer in one
// pass: entries go into a tar stream, are hashed, and are compressed in groups.
// On Linux, [Apply] unpacks a layer into a directory in the form overlayfs
// expects of a lower directory, and [Diff] reads an overlay's upper directory
// back as entries.
//
// Whiteouts, opaque directories and media types are those of the OCI image
// layer specification (image-spec, layer.md).
package layer
