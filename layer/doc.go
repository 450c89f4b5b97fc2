// Package layer holds image layers as values.
//
// A [Layer] is known by its DiffID and shows itself, on demand, as a table of
// contents ([TOC]), as a compressed blob ([Blob]) or as its uncompressed tar. A
// [View] merges the tables of contents of a list of layers into one read-only
// file tree without unpacking anything. A [Writer] makes a new layer in one
// pass: entries go into a tar stream, are hashed, and are compressed in groups.
// [TarReader] reads the tar of any layer, and decides what a layer may hold.
// Package tree unpacks layers into directories and reads changes back.
//
// Whiteouts, opaque directories and media types are those of the OCI image
// layer specification (image-spec, layer.md).
package layer
